// @ts-check
// A method of your own: 80 (hex) upgrades the connection to TLS, so that the request and all that follows is encrypted
// though the server speaks plain SOCKS5 on the same port to those who do not ask for it.
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { connect as connectTls, TLSSocket } from 'node:tls'
import { createSocksServer, customAuth, noAuth } from 'tubesock'
import { ClientSession, Command } from 'tubesock/codec'

const TLS_METHOD = 0x80

// For this example alone: the key is public. One of your own: openssl req -x509 -newkey ec -pkeyopt
// ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=proxy -addext subjectAltName=DNS:localhost
const CERTIFICATE = `\
-----BEGIN CERTIFICATE-----
MIIBxTCCAWqgAwIBAgIUMQbfS4RHQu3IvagLGf+LX97nrXswCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNdHViZXNvY2sgdGVzdDAgFw0yNjExMjEwMzUxMDNaGA8yMTI2
MTAyODAzNTEwM1owGDEWMBQGA1UEAwwNdHViZXNvY2sgdGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABJ3jkytOUdlH8c1GG0CiwGnpJetD3yjQR+foFP7u8s4/
D+Ztb3MYR17b4LH9Gm4PTCGAVYxoNn8K7YTC8wRtTdyjgY8wgYwwHQYDVR0OBBYE
FHWuW8dzsB9gK5dCSYPzNfuxcrWHMB8GA1UdIwQYMBaAFHWuW8dzsB9gK5dCSYPz
NfuxcrWHMDkGA1UdEQQyMDCCDXByb3h5LmV4YW1wbGWCDnRhcmdldC5leGFtcGxl
gglsb2NhbGhvc3SHBH8AAAEwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJ
ADBGAiEAnOVlSiQ1VpnkmQ/L7VE+xXf3jF5pYNqVBc9BY8T6sRICIQDhiugCuEdb
mx2QVA0pCirPu+cELhIAkBIp/OCzZ0a5Pw==
-----END CERTIFICATE-----
`
const PRIVATE_KEY = `\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5vHyu7XwPmKyvjS6
vkD1Ce3Ms20mXZP/fqOr0YOjdJ6hRANCAASd45MrTlHZR/HNRhtAosBp6SXrQ98o
0Efn6BT+7vLOPw/mbW9zGEde2+Cx/RpuD0whgFWMaDZ/Cu2EwvMEbU3c
-----END PRIVATE KEY-----
`

const server = createSocksServer({
  auth: [
    customAuth(TLS_METHOD, async (_channel, session) => {
      console.log(`client ${session.id} asks for TLS`)
      return {
        identity: { encrypted: true },
        wrap: (stream) => new TLSSocket(stream, { isServer: true, cert: CERTIFICATE, key: PRIVATE_KEY }),
      }
    }),
    noAuth(),
  ],
  // Who does not encrypt may ask, and is told no.
  authorize: ({ identity }) => identity.encrypted === true,
})
server.on('denied', ({ session, error }) => console.log(`client ${session.id} is denied: ${error.code}`))
server.on('closed', ({ session, bytesUp, bytesDown }) => {
  console.log(`client ${session.id} is gone after ${bytesUp} bytes up, ${bytesDown} down`)
})
const { port } = await server.listen(0)

const target = createServer((socket) => socket.end('hello through TLS\n')).listen(0, '127.0.0.1')
await once(target, 'listening')
const address = target.address()
if (typeof address !== 'object' || address === null) throw new Error('it does not listen')
const destination = { host: '127.0.0.1', port: address.port }

for (const method of [TLS_METHOD, 0x00]) {
  const socket = connect(port, '127.0.0.1')
  const session = new ClientSession()
  socket.write(session.send({ type: 'greeting', methods: [method] }))
  await receive(session, socket)
  let stream = socket
  if (method === TLS_METHOD) {
    session.send({ type: 'authEnd' })
    const secure = connectTls({ socket, ca: CERTIFICATE, servername: 'localhost' })
    await once(secure, 'secureConnect')
    console.log(`speaking ${secure.getProtocol()}`)
    stream = secure
  }
  stream.write(session.send({ type: 'request', command: Command.connect, destination }))
  try {
    await receive(session, stream)
    process.stdout.write(session.takeRemaining())
    process.stdout.write(await text(stream))
  } catch (error) {
    console.log(error instanceof Error ? error.message : error)
  }
  stream.end()
}

target.close()
await server.close()

/**
 * Reads until the session has the next event of the server.
 * @param {ClientSession} session
 * @param {import('node:net').Socket} stream
 */
async function receive(session, stream) {
  let event = session.nextEvent()
  while (event === undefined) {
    const chunk = stream.read()
    if (chunk === null) await once(stream, 'readable')
    else session.receive(chunk)
    event = session.nextEvent()
  }
}
