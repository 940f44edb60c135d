// A client on node-opcua, for our simulated machines: browses the whole server, reads the PackML state, calls Hold.
//
//   node opcua_client.js '{"url":"opc.tcp://...","pki":"FOLDER","policy":"Basic256Sha256","unit":"Filler"}'
//
// Prints one JSON line: what was found, the states before and after Hold, the answer to Hold and a refused write.
"use strict";
const {
  OPCUAClient, OPCUACertificateManager, MessageSecurityMode, SecurityPolicy, NodeClass, AttributeIds, makeBrowsePath,
  DataType, BrowseDirection, StatusCodes,
} = require("node-opcua");

const given = JSON.parse(process.argv[2]);
const PACKML = "http://opcfoundation.org/UA/PackML/";

async function walk(session, root) {
  const found = [];
  const seen = new Set([root]);
  let level = [root];
  while (level.length) {
    const results = await session.browse(level.map((nodeId) => ({
      nodeId, browseDirection: BrowseDirection.Forward, referenceTypeId: "HierarchicalReferences", includeSubtypes: true,
      resultMask: 63, nodeClassMask: NodeClass.Object | NodeClass.Variable | NodeClass.Method,
    })));
    level = [];
    for (const result of results) {
      for (const reference of result.references || []) {
        const id = reference.nodeId.toString();
        if (seen.has(id)) continue;
        seen.add(id);
        found.push({ id, name: reference.browseName.name, kind: NodeClass[reference.nodeClass] });
        level.push(id);
      }
    }
  }
  return found;
}

async function at(session, path) {
  const result = await session.translateBrowsePath(makeBrowsePath("RootFolder", path));
  if (result.statusCode.isNotGood()) throw new Error(`${path}: ${result.statusCode.toString()}`);
  return result.targets[0].targetId;
}

async function main() {
  const manager = new OPCUACertificateManager({ rootFolder: given.pki, automaticallyAcceptUnknownCertificate: true });
  await manager.initialize();
  const client = OPCUAClient.create({
    applicationName: "peer", clientCertificateManager: manager, endpointMustExist: false,
    securityMode: given.policy === "None" ? MessageSecurityMode.None : MessageSecurityMode.SignAndEncrypt,
    securityPolicy: SecurityPolicy[given.policy], connectionStrategy: { maxRetry: 1 },
  });
  await client.connect(given.url);
  const session = await client.createSession();
  const nodes = await walk(session, "ObjectsFolder");
  const namespaces = await session.readNamespaceArray();
  const p = namespaces.indexOf(PACKML);
  const unit = nodes.find((node) => node.name === given.unit && node.kind === "Object");
  const own = namespaces.findIndex((uri) => uri === given.uri);
  const read = async (node) => (await session.read({ nodeId: node, attributeId: AttributeIds.Value }));
  const value = async (path) => (await read(await at(session, path))).value.value;
  const base = `/Objects/${p}:PackMLObjects/${own}:${given.unit}/${p}:BaseStateMachine`;
  const execute = `${base}/${p}:MachineState/${p}:ExecuteState`;
  const text = async () => (await value(`${execute}.CurrentState`)).text;
  const before = await text();
  const answer = await session.call({
    objectId: await at(session, execute), methodId: await at(session, `${execute}/${p}:Hold`), inputArguments: [],
  });
  let after = before;
  for (let tries = 0; tries < 500 && after !== "Held"; tries += 1) {
    await new Promise((done) => setTimeout(done, 20));
    after = await text();
  }
  const state = await read(`ns=${own};s=${given.unit}.Status.StateCurrent`);
  const refused = await session.write({
    nodeId: `ns=${own};s=${given.unit}.Status.StateCurrent`, attributeId: AttributeIds.Value,
    value: { value: { dataType: DataType.Int32, value: 6 } },
  });
  const nothing = await read(`ns=${own};s=${given.unit}.Nothing`);
  await session.close();
  await client.disconnect();
  process.stdout.write(`${JSON.stringify({
    unit: Boolean(unit), variables: nodes.filter((node) => node.kind === "Variable").length,
    names: nodes.map((node) => node.id.split(";s=")[1]).filter(Boolean), before, after, hold: answer.statusCode.name,
    state: state.value.value, stamped: Boolean(state.sourceTimestamp), refused: refused.name,
    nothing: nothing.statusCode.name, good: StatusCodes.Good.name,
  })}\n`);
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
