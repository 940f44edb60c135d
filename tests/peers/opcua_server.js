// An OPC UA server on node-opcua for the tests of our driver: a PackML filler and two scales, each instantiated from
// the OPC Foundation's own nodesets, and as many plain variables as asked for.
//
//   node opcua_server.js '{"port":0,"pki":"FOLDER","policies":["None"],"models":true,"count":0,"limits":{}}'
//
// One JSON object a line on stdin asks, one a line on stdout answers; the first line says {"ready":true,"port":...}.
"use strict";
const readline = require("readline");
const path = require("path");
const {
  OPCUAServer, OPCUACertificateManager, DataType, Variant, StatusCodes, SecurityPolicy, MessageSecurityMode,
  coerceLocalizedText, makeEUInformation, makeNodeId, WriteRequest,
} = require("node-opcua");
const { nodesets } = require("node-opcua-nodesets");

const given = JSON.parse(process.argv[2] || "{}");
const PACKML = "http://opcfoundation.org/UA/PackML/";
const SCALES = "http://opcfoundation.org/UA/Scales/V2/";
// name -> numeric id of the state's node in the PackML nodeset
const STATES = {
  Stopped: 53, Starting: 29, Idle: 28, Suspended: 31, Execute: 36, Stopping: 54, Holding: 33, Held: 34, Aborted: 62,
  Running: 75, Cleared: 71,
};
const OUTER = { Aborted: ["Aborted", "", ""], Stopped: ["Cleared", "Stopped", ""], Stopping: ["Cleared", "Stopping", ""] };
const events = { writes: [], calls: [], opened: 0, most: 0 };
let behave = "obey";

function say(document) {
  process.stdout.write(JSON.stringify(document) + "\n");
}

async function certificates(name) {
  const manager = new OPCUACertificateManager({
    rootFolder: path.join(given.pki, name), automaticallyAcceptUnknownCertificate: false,
  });
  await manager.initialize();
  return manager;
}

async function build() {
  const files = [nodesets.standard];
  if (given.models) files.push(nodesets.di, nodesets.ia, nodesets.machinery, nodesets.packML, nodesets.scales);
  const trust = await certificates("server");
  const policies = given.policies || ["None"];
  const server = new OPCUAServer({
    port: given.port || 0,
    hostname: "127.0.0.1",
    alternateHostname: ["127.0.0.1"],
    nodeset_filename: files,
    serverCertificateManager: trust,
    userCertificateManager: await certificates("users"),
    serverInfo: { applicationUri: "urn:test:node-opcua" },
    securityPolicies: policies.map((name) => SecurityPolicy[name]),
    securityModes: policies.includes("None")
      ? [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt]
      : [MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
    disableDiscovery: !policies.includes("None"),
    allowAnonymous: given.anonymous !== false,
    userManager: { isValidUser: (user, password) => user === "line" && password === "secret" },
    serverCapabilities: { maxSessions: 10, operationLimits: given.limits || {} },
    maxConnectionsPerEndpoint: 20,
  });
  await server.initialize();
  return { server, trust };
}

// Controllers there are (S7, Kepware, open62541) that take a value and nothing else.
function strict(server) {
  server.on("request", (request) => {
    if (!(request instanceof WriteRequest)) return;
    for (const each of request.nodesToWrite || []) {
      const value = each.value;
      const bare = !value.sourceTimestamp && !value.serverTimestamp && !value.sourcePicoseconds && !value.serverPicoseconds;
      events.writes.push({
        node: each.nodeId.toString(), type: DataType[value.value.dataType], value: value.value.value,
        bare, status: value.statusCode.value,
      });
      const node = server.engine.addressSpace.findNode(each.nodeId);
      if (node) node.$refuses = !bare;
    }
  });
}

function variable(space, parent, name, dataType, value, written) {
  const made = space.addVariable({
    componentOf: parent, nodeId: `s=Filler.${name}`, browseName: name.split(".").pop(), dataType,
    value: new Variant({ dataType, value }), accessLevel: "CurrentRead | CurrentWrite",
    userAccessLevel: "CurrentRead | CurrentWrite",
  });
  const write = made.writeAttribute.bind(made);
  made.writeAttribute = (context, item, range, done) => {
    const finish = typeof range === "function" ? range : done;
    if (made.$refuses) return finish(null, StatusCodes.BadWriteNotSupported);
    return write(context, item, (error, status) => {
      finish(error, status);
      if (!error && status.isGood() && written) written(made.readValue().value.value);
    });
  };
  return made;
}

class Filler {
  constructor(server) {
    this.space = server.engine.addressSpace;
    const own = this.space.getOwnNamespace();
    this.packml = this.space.getNamespaceIndex(PACKML);
    const type = this.space.findObjectType("PackMLBaseObjectType", this.packml);
    this.object = type.instantiate({ browseName: "Filler", nodeId: "s=Filler", organizedBy: this.space.rootFolder.objects });
    const base = this.object.getChildByName("BaseStateMachine", this.packml);
    const machine = base.getChildByName("MachineState", this.packml);
    const execute = machine.getChildByName("ExecuteState", this.packml);
    this.levels = [base, machine, execute];
    for (const [owner, name] of [[base, "Abort"], [machine, "Stop"], [execute, "Hold"]]) {
      own.addMethod(owner, { browseName: { name, namespaceIndex: this.packml }, inputArguments: [], outputArguments: [] })
        .bindMethod((inputs, context, done) => {
          events.calls.push(name);
          this.ask(name);
          done(null, { statusCode: StatusCodes.Good, outputArguments: [] });
        });
    }
    const tags = own.addObject({ browseName: "Tags", nodeId: "s=Filler.Tags", organizedBy: this.space.rootFolder.objects });
    this.current = variable(own, tags, "Status.StateCurrent", DataType.Int32, 4);
    this.mode = variable(own, tags, "Status.UnitModeCurrent", DataType.Int32, 1);
    this.speed = variable(own, tags, "Status.MachSpeed", DataType.Double, 60.5);
    this.units = variable(own, tags, "Admin.ProdProcessedCount", DataType.Int32, 0);
    variable(own, tags, "Admin.ProdDefectiveCount", DataType.Int32, 0);
    const command = variable(own, tags, "Command.CntrlCmd", DataType.Int32, 0);
    variable(own, tags, "Command.CmdChangeRequest", DataType.Boolean, false, (value) => {
      if (value) this.ask({ 3: "Stop", 4: "Hold", 8: "Abort" }[command.readValue().value.value]);
    });
    variable(own, tags, "Heartbeat.In", DataType.UInt16, 0);
    this.status = this.object.getChildByName("Status", this.packml);
    this.to("Idle");
  }

  ask(command) {
    if (behave === "lie") return;
    const way = { Hold: ["Holding", "Held", 11], Stop: ["Stopping", "Stopped", 2], Abort: ["Aborted", "Aborted", 9] }[command];
    if (!way) return;
    this.to(way[0], 10);
    setTimeout(() => this.to(way[1], way[2]), 20);
  }

  to(state, number) {
    const shown = OUTER[state] || ["Cleared", "Running", state];
    this.levels.forEach((level, at) => {
      const current = level.getComponentByName("CurrentState", 0);
      const id = current.getPropertyByName("Id", 0);
      const known = shown[at] ? makeNodeId(STATES[shown[at]], this.packml) : makeNodeId(0);
      current.setValueFromSource({ dataType: DataType.LocalizedText, value: coerceLocalizedText(shown[at] || "") });
      id.setValueFromSource({ dataType: DataType.NodeId, value: known });
    });
    const numbers = { Idle: 4, Execute: 6, Held: 11, Stopped: 2, Aborted: 9, Starting: 3, Suspended: 5 };
    this.current.setValueFromSource({ dataType: DataType.Int32, value: number || numbers[state] });
    this.status.getChildByName("UnitModeCurrent", this.packml).setValueFromSource({ dataType: DataType.Int32, value: 1 });
    this.status.getChildByName("CurMachSpeed", this.packml).setValueFromSource({ dataType: DataType.Float, value: 61.5 });
  }
}

class Scale {
  constructor(server, name, optionals) {
    this.space = server.engine.addressSpace;
    this.index = this.space.getNamespaceIndex(SCALES);
    const type = this.space.findObjectType("LaboratoryScaleType", this.index);
    const device = type.instantiate({
      browseName: name, nodeId: `s=${name}`, organizedBy: this.space.rootFolder.objects,
      optionals: ["CurrentWeight", ...optionals.map((each) => `CurrentWeight.${each}`)],
    });
    this.weight = device.getChildByName("CurrentWeight", this.index);
    this.show({ gross: 21.012, net: 1.012, tare: 20.0, stable: true, printable: ["21.0120", "1.0120", "20.0000"] });
    this.unit("GRM", "g", "gram");
    this.property("TareMode", DataType.Int32, 1);
  }

  property(name, dataType, value, statusCode = StatusCodes.Good) {
    const node = this.weight.getPropertyByName(name, this.index);
    if (node) node.setValueFromSource({ dataType, value }, statusCode);
  }

  structure(type, fields) {
    return this.space.constructExtensionObject(this.space.findDataType(type, this.index), fields);
  }

  unit(code, short, long) {
    const value = makeEUInformation(code, short, long);
    this.weight.getPropertyByName("EngineeringUnits", 0).setValueFromSource({ dataType: DataType.ExtensionObject, value });
  }

  show({ gross, net, tare, stable = true, overload = false, underload = false, printable = null }) {
    const value = this.structure("WeightType", { gross, net, tare });
    this.property("Overload", DataType.Boolean, overload);
    this.property("Underload", DataType.Boolean, underload);
    this.property("WeightStable", DataType.Boolean, stable);
    if (printable) {
      const [g, n, t] = printable;
      const text = this.structure("PrintableWeightType", { gross: g, net: n, tare: t });
      this.property("PrintableValue", DataType.ExtensionObject, text);
    }
    this.weight.setValueFromSource({ dataType: DataType.ExtensionObject, value });
  }
}

function many(server, count) {
  const own = server.engine.addressSpace.getOwnNamespace();
  const many = own.addFolder(server.engine.addressSpace.rootFolder.objects, { browseName: "Many", nodeId: "s=Many" });
  const made = [];
  let folder;
  for (let at = 0; at < count; at += 1) {
    if (at % 250 === 0) folder = own.addFolder(many, { browseName: `F${at / 250}`, nodeId: `s=F${at / 250}` });
    const common = { componentOf: folder, browseName: `v${at}`, nodeId: `s=v${at}`, dataType: DataType.Double };
    const node = at < 50 // the library makes plain ones much faster
      ? own.addAnalogDataItem({
        ...common, engineeringUnitsRange: { low: 0, high: 100 }, engineeringUnits: makeEUInformation("CEL", "°C", "degree"),
      })
      : own.addVariable(common);
    node.setValueFromSource({ dataType: DataType.Double, value: at });
    made.push(node);
  }
  return made;
}

async function main() {
  const { server, trust } = await build();
  strict(server);
  const filler = given.models ? new Filler(server) : null;
  const scales = given.models
    ? { Scale: new Scale(server, "Scale", ["WeightStable", "PrintableValue"]), Bare: new Scale(server, "Bare", []) }
    : {};
  const plain = many(server, given.count || 0);
  const count = () => { events.most = Math.max(events.most, server.engine.currentSessionCount); };
  server.on("create_session", () => { events.opened += 1; count(); });
  server.on("session_activated", count);
  await server.start();
  const doing = {
    state: ({ state }) => filler.to(state),
    weight: ({ scale, ...shown }) => scales[scale].show(shown),
    unit: ({ scale, code, short }) => scales[scale].unit(code, short, short),
    units: ({ value }) => filler.units.setValueFromSource({ dataType: DataType.Int32, value }),
    put: ({ at, value, status = "Good" }) =>
      plain[at].setValueFromSource({ dataType: DataType.Double, value }, StatusCodes[status]),
    behave: ({ how }) => { behave = how; },
    trust: async ({ file }) => {
      const { readCertificate } = require("node-opcua-crypto");
      await trust.trustCertificate(readCertificate(file));
    },
    seen: () => ({ ...events, open: server.engine.currentSessionCount }),
    forget: () => { events.writes = []; events.calls = []; },
    certificate: () => ({ file: server.certificateFile }),
  };
  readline.createInterface({ input: process.stdin }).on("line", async (line) => {
    const { id, do: what, ...more } = JSON.parse(line);
    try {
      say({ id, result: (await doing[what](more)) || null });
    } catch (error) {
      say({ id, error: String(error && error.stack) });
    }
  }).on("close", () => process.exit(0));
  say({ ready: true, port: server.endpoints[0].port, url: server.getEndpointUrl() });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
