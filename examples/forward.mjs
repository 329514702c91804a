// @ts-check
// A TCP proxy: each client is taken to the next of two backends, which are told by the PROXY protocol who it is.
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { text } from 'node:stream/consumers'
import { createForwardServer } from 'tubesock'
import { decodeProxyHeader } from 'tubesock/codec'

const backends = await Promise.all(['red', 'blue'].map(startBackend))

let turn = 0
const server = createForwardServer({
  // A fixed `{ host, port }` will do, too. A function may return a promise, and nothing to turn a client away.
  target: (_socket, session) => {
    const backend = backends[turn++ % backends.length]
    console.log(`client ${session.id} goes to ${backend?.name}`)
    return backend
  },
  sendProxyHeader: 2,
  idleTimeoutMs: 60_000,
})
server.on('closed', ({ session, bytesUp, bytesDown, reason }) => {
  console.log(`client ${session.id}: ${bytesUp} bytes up, ${bytesDown} down, ${reason}`)
})
const { port } = await server.listen(0)

for (const [index, localAddress] of ['127.0.0.1', '127.0.0.2', '127.0.0.3'].entries()) {
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  socket.end(`question ${index + 1}`)
  console.log(await text(socket))
}

await server.close()
console.log(server.stats())
for (const { listener } of backends) listener.close()

/**
 * Answers with what it was asked, and by whom.
 * @param {string} name
 */
async function startBackend(name) {
  const listener = createServer({ allowHalfOpen: true }, (socket) => {
    /** @type {Buffer[]} */
    const chunks = []
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('end', () => {
      const bytes = Buffer.concat(chunks)
      const header = decodeProxyHeader(bytes)
      const question = bytes.subarray(header?.bytesRead ?? 0)
      socket.end(`${name} heard "${question}" from ${header?.value.source?.host}`)
    })
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const address = listener.address()
  if (typeof address !== 'object' || address === null) throw new Error('it does not listen')
  return { name, listener, host: '127.0.0.1', port: address.port }
}
