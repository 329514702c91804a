// An HTTP proxy in front of SOCKS proxies: what it answers to CONNECT, by upstream.

import http from 'node:http'
import { Server } from 'proxy-chain'

const { upstreams, target } = JSON.parse(process.env.INPUT)
const answers = []
for (const upstreamProxyUrl of upstreams) {
  const server = new Server({ port: 0, host: '127.0.0.1', prepareRequestFunction: () => ({ upstreamProxyUrl }) })
  await server.listen()
  const request = http.request({ host: '127.0.0.1', port: server.port, method: 'CONNECT', path: target }).end()
  answers.push(
    await new Promise((resolve, reject) => {
      request.on('error', reject)
      request.on('connect', (response, socket) => {
        if (response.statusCode !== 200) resolve([response.statusCode, response.statusMessage])
        else {
          socket.write('GET / HTTP/1.0\r\n\r\n')
          let text = ''
          socket.setEncoding('utf8').on('data', (chunk) => {
            text += chunk
          })
          socket.on('end', () => resolve([200, text.split('\r\n\r\n')[1]]))
        }
      })
    }),
  )
  await server.close(true)
}
console.log(JSON.stringify(answers))
