// A Modbus TCP server by the npm package modbus-serial, on a free port; prints `ready <port>` once it listens.
// Register n holds 7 n; 1000 to 1099 are not there (exception 02); 5 writable coils; unit 9 is not known (exception 0B).
const net = require("net");
const { ServerTCP } = require("modbus-serial");

const coils = [false, false, false, false, false];
const refusal = (code) => Object.assign(new Error("refused"), { modbusErrorCode: code });
const vector = {
  getHoldingRegister: (address, unit) => {
    if (unit === 9) throw refusal(11);
    if (address >= 1000 && address < 1100) throw refusal(2);
    return address === 500 ? (coils[4] ? 11 : 6) : (7 * address) & 0xffff;
  },
  getInputRegister: (address) => 65535 - address,
  getCoil: (address) => coils[address],
  setCoil: (address, value) => { coils[address] = value; },
  getDiscreteInput: (address) => address % 3 === 0,
};

const probe = net.createServer().listen(0, "127.0.0.1", () => {
  const { port } = probe.address();
  probe.close(() => {
    const server = new ServerTCP(vector, { host: "127.0.0.1", port, unitID: 255, debug: false });
    server.on("initialized", () => console.log(`ready ${port}`));
    server.on("socketError", () => {});
  });
});
