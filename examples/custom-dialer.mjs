// @ts-check
// A server whose way out is yours: here a page that exists only in this process, reached by any name.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { duplexPair } from 'node:stream'
import { createSocksServer } from 'tubesock'
import { ClientSession, Command, Method } from 'tubesock/codec'

const site = createServer((request, response) => response.end(`you asked for ${request.headers.host}\n`))

const server = createSocksServer({
  dial: () => {
    const [near, far] = duplexPair()
    site.emit('connection', far)
    return near
  },
})
const { port } = await server.listen(0)

// A client made of the codec and a socket.
const socket = connect(port, '127.0.0.1')
const session = new ClientSession()
socket.write(session.send({ type: 'greeting', methods: [Method.noAuth] }))
while (session.state !== 'open') {
  const event = session.nextEvent()
  if (event?.type === 'method') {
    const destination = { host: 'anything.example', port: 80 }
    socket.write(session.send({ type: 'request', command: Command.connect, destination }))
  } else if (event === undefined) {
    const [chunk] = await once(socket, 'data')
    session.receive(chunk)
  }
}
socket.write('GET / HTTP/1.1\r\nHost: anything.example\r\nConnection: close\r\n\r\n')
for await (const chunk of socket) process.stdout.write(chunk)
await server.close()
