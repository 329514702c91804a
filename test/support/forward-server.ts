import type { Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import {
  type ClosedInfo,
  createForwardServer,
  type DeniedInfo,
  type EstablishedInfo,
  type ForwardServer,
  type ForwardServerOptions,
} from '../../src/server/index.js'
import { RawClient } from './raw-client.js'
import { cleanup } from './servers.js'
import { startEcho, startTarget, type Target } from './targets.js'

/** A target until the test is over. */
export async function newTarget(onConnection?: (socket: Socket) => void): Promise<Target> {
  const target = await startTarget(onConnection)
  cleanup(() => target.close())
  return target
}

/** An echo until the test is over. */
export async function newEcho(): Promise<Target> {
  const echo = await startEcho()
  cleanup(() => echo.close())
  return echo
}

/** A forward server that listens, with all that it told. */
export async function startForward(options: ForwardServerOptions) {
  const server = createForwardServer(options)
  cleanup(() => server.close({ graceMs: 0 }))
  const errors: Error[] = []
  const denied: DeniedInfo[] = []
  const established: EstablishedInfo[] = []
  server.on('error', (error) => errors.push(error))
  server.on('denied', (info) => denied.push(info))
  server.on('established', (info) => established.push(info))
  const { port } = await server.listen(0)
  return {
    server,
    port,
    errors,
    denied,
    established,
    client: async (options: { localAddress?: string } = {}) => {
      const client = await RawClient.connect(port, options)
      cleanup(() => client.stream.destroy())
      return client
    },
    closed: () => new Promise<ClosedInfo>((resolve) => server.once('closed', resolve)),
  }
}

/** What a client gets that says hello and no more. */
export async function ask(fixture: { client(): Promise<RawClient> }): Promise<string> {
  const client = await fixture.client()
  client.stream.end('hello')
  const answer = await client.readToEnd()
  client.stream.destroy()
  return String(answer)
}

/** What a client without an address gets. */
export async function askRemotely(server: ForwardServer): Promise<string> {
  const [near, far] = duplexPair()
  server.handle(near)
  // One side of a pair does not see that the other is destroyed.
  near.on('close', () => setImmediate(() => far.destroy()))
  far.end('hello')
  return String(await new RawClient(far).readToEnd())
}
