import { once } from 'node:events'
import {
  type ClientRequest,
  createServer,
  type IncomingMessage,
  type RequestListener,
  request as requestHttp,
  type Server,
} from 'node:http'
import { createServer as createSecureServer, request as requestHttps } from 'node:https'
import type { Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import type { TLSSocket } from 'node:tls'
import { cleanup } from '../support/servers.js'
import { CERTIFICATE, PRIVATE_KEY } from './certificate.js'

/** An HTTP server of a test. */
export interface HttpTarget {
  readonly port: number
  readonly server: Server
  /** Its connections so far. */
  readonly sockets: Socket[]
  /** Server names that clients have asked for in TLS; `false` for none. */
  readonly names: (string | false)[]
}

/** What most targets answer: method, path and Host of the request. */
export const echo: RequestListener = (request, response) => {
  response.end(`${request.method} ${request.url} ${request.headers.host}`)
}

/** Listens on loopback until the test is over. `secure`: with the certificate of the tests. */
export async function startHttp(
  listener: RequestListener = echo,
  { secure = false, requestCert = false }: { secure?: boolean; requestCert?: boolean } = {},
): Promise<HttpTarget> {
  const sockets: Socket[] = []
  const names: (string | false)[] = []
  const server: Server = secure
    ? createSecureServer({ cert: CERTIFICATE, key: PRIVATE_KEY, requestCert, rejectUnauthorized: false }, listener)
    : createServer(listener)
  server.on('connection', (socket: Socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
  })
  server.on('secureConnection', (socket: TLSSocket & { servername?: string | false }) => {
    names.push(socket.servername ?? false)
  })
  server.keepAliveTimeout = 0
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanup(async () => {
    server.closeAllConnections()
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { port: address.port, server, sockets, names }
}

/** Sends a request and reads its answer as text. `body`: what is sent with it. */
export async function fetchText(
  url: string,
  options: Parameters<typeof requestHttps>[1] = {},
  body = '',
): Promise<string> {
  const request = start(url, options)
  request.end(body)
  return await text(await responseOf(request))
}

/** A request that is not ended yet. */
export function start(url: string, options: Parameters<typeof requestHttps>[1] = {}): ClientRequest {
  return url.startsWith('https:') ? requestHttps(url, options) : requestHttp(url, options)
}

/** The response, or the error of the request. */
export async function responseOf(request: ClientRequest): Promise<IncomingMessage> {
  const [response] = await once(request, 'response')
  return response
}

/** The first error of a request; the second is a failure of the test. */
export function errorOf(request: ClientRequest): Promise<Error> {
  return new Promise((resolve, reject) => {
    let seen = 0
    request.on('error', (error) => (++seen === 1 ? resolve(error) : reject(new Error('a second error'))))
    request.on('response', () => reject(new Error('there is a response')))
  })
}
