import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'

/** A TCP server of a test, closed with all its sockets. */
export interface Target {
  readonly port: number
  readonly host: string
  readonly sockets: Set<Socket>
  /** How many connections it has accepted. */
  readonly accepted: number
  /** The next connection that is accepted, or the one that was and nobody asked for. */
  connection(): Promise<Socket>
  close(): Promise<void>
}

/** Listens on loopback and lets `onConnection` talk. Half-open, as tests of half-close need. */
export async function startTarget(
  onConnection: (socket: Socket) => void = () => {},
  host = '127.0.0.1',
): Promise<Target> {
  const sockets = new Set<Socket>()
  const arrived: Socket[] = []
  const waiting: ((socket: Socket) => void)[] = []
  let accepted = 0
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    accepted++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    const waiter = waiting.shift()
    if (waiter === undefined) arrived.push(socket)
    else waiter(socket)
    onConnection(socket)
  })
  server.listen(0, host)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    port: address.port,
    host,
    sockets,
    get accepted() {
      return accepted
    },
    connection: () => {
      const socket = arrived.shift()
      return socket === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(socket)
    },
    close: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Sends back what it gets, and its FIN after the peer's. */
export function startEcho(host?: string): Promise<Target> {
  return startTarget((socket) => socket.pipe(socket), host)
}

/** A port on which nobody listens. */
export async function refusedPort(): Promise<number> {
  const target = await startTarget()
  await target.close()
  return target.port
}
