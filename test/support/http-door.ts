import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Fallback, isSocksError, type Outbound, relay, type Session } from '../../src/server/index.js'

/** An HTTP server behind `fallback`: a site of its own, and a proxy (absolute URL, CONNECT) by the way out it is given. */
export interface HttpDoor {
  readonly http: Server
  readonly fallback: Fallback
}

/** `outbound`: asked when there is a request, because the server that has it is made with the door. */
export function createHttpDoor(outbound: () => Outbound): HttpDoor {
  const sessions = new WeakMap<Duplex, Session>()
  const connect = (socket: Duplex, host: string, port: number) => {
    const session = sessions.get(socket)
    return outbound().connect({ host, port, session, clientAddress: session?.clientAddress })
  }
  const http = createServer((incoming, answer) => {
    const url = incoming.url ?? ''
    const work = url.startsWith('/') ? answerSelf(incoming, answer) : forward(incoming, answer, new URL(url))
    work.catch((error: unknown) => answer.writeHead(statusOf(error)).end())
  })
  http.on('connect', (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
    const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(incoming.url ?? '') ?? []
    connect(socket, host, Number(port)).then(
      ({ stream }) => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
        socket.unshift(head)
        relay(socket, stream)
      },
      (error: unknown) => socket.end(`HTTP/1.1 ${statusOf(error)} No\r\nContent-Length: 0\r\n\r\n`),
    )
  })

  async function forward(incoming: IncomingMessage, answer: ServerResponse, url: URL): Promise<void> {
    const { stream } = await connect(incoming.socket, url.hostname, Number(url.port || 80))
    const { method, headers } = incoming
    const outgoing = request(
      { method, headers, path: url.pathname + url.search, createConnection: () => stream },
      (response) => response.pipe(answer.writeHead(response.statusCode ?? 502, response.headers)),
    )
    outgoing.on('error', () => answer.destroy())
    incoming.pipe(outgoing)
  }

  return {
    http,
    fallback: (socket, session) => {
      sessions.set(socket, session)
      http.emit('connection', socket)
    },
  }
}

/** What was asked for, and the digest of what was sent. */
async function answerSelf(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
  const hash = createHash('sha256')
  for await (const chunk of incoming) hash.update(chunk)
  answer.end(`${incoming.method} ${incoming.url} ${hash.digest('hex')}`)
}

function statusOf(error: unknown): number {
  return isSocksError(error) && error.replyCode === 2 ? 403 : 502
}
