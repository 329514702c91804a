// CommonJS: the class, and the failure that it can be told by.

const { SocksClient, SocksClientError } = require('socks')

const { port } = JSON.parse(process.env.INPUT)
const proxy = { host: '127.0.0.1', port, type: 5, userId: 'alice', password: 'wrong' }
SocksClient.createConnection({ proxy, command: 'connect', destination: { host: 'example.com', port: 443 } }).then(
  () => console.log('connected'),
  (error) => {
    const names = [error.constructor.name, SocksClient.name]
    console.log(JSON.stringify([error instanceof SocksClientError, ...names, error.message, error.code]))
  },
)
