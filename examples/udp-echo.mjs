// @ts-check
// Datagrams through a proxy: a server that relays them, by a rule of its own, and a client that feels like `dgram`.
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createSocksServer, SocksClient } from 'tubesock'

// Somebody to talk to.
const echo = createSocket('udp4', (data, { port, address }) => echo.send(data, port, address))
echo.bind(0, '127.0.0.1')
await once(echo, 'listening')
const target = echo.address().port

const server = createSocksServer({
  commands: ['connect', 'udp-associate'],
  // Asked for each destination, before its first datagram leaves.
  authorize: ({ command, host, port }) => {
    console.log(`${command} to ${host}:${port}?`)
    return port === target
  },
})
server.on('denied', ({ destination, rule }) => console.log(`no datagram to port ${destination?.port}: ${rule}`))
const { port } = await server.listen(0)

const association = await SocksClient.udpAssociate({ proxy: `socks5h://127.0.0.1:${port}` })
association.send('nobody gets this', 9, '127.0.0.1')
for (const text of ['one', 'two', 'three']) association.send(text, target, '127.0.0.1')

let answers = 0
for await (const { data, address, port } of association) {
  console.log(`${data} from ${address}:${port}`)
  answers++
  if (answers === 3) break
}
const { datagramsSent, datagramsReceived } = association.stats()
console.log(`${datagramsSent} sent, ${datagramsReceived} came back`)

// The relay goes with it.
association.close()
await server.close()
echo.close()
