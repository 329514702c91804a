import { afterEach } from 'vitest'
import { type ClosedInfo, createSocksServer, type ServerOptions, type SocksServer } from '../../src/server/index.js'
import { RawClient } from './raw-client.js'

const cleanups: (() => unknown)[] = []

/** Runs when the current test is over, whatever came of it. */
export function cleanup(work: () => unknown): void {
  cleanups.push(work)
}

afterEach(async () => {
  for (const work of cleanups.splice(0).reverse()) await work()
})

/** A server under test, with what it told. */
export interface Fixture {
  readonly server: SocksServer
  readonly port: number
  readonly errors: Error[]
  client(): Promise<RawClient>
  /** The next connection to close. */
  closed(): Promise<ClosedInfo>
}

/** A server that listens on a free loopback port until the test is over. */
export async function startServer(options: ServerOptions = {}): Promise<Fixture> {
  const server = createSocksServer(options)
  const errors: Error[] = []
  server.on('error', (error) => errors.push(error))
  const { port } = await server.listen(0)
  cleanup(() => server.close({ graceMs: 0 }))
  return {
    server,
    port,
    errors,
    client: async () => {
      const client = await RawClient.connect(port)
      cleanup(() => client.stream.destroy())
      return client
    },
    // Not events.once, which rejects when the server tells of an error first.
    closed: () => new Promise((resolve) => server.once('closed', resolve)),
  }
}

/** Code of an error that has one. */
export function codeOf(error: unknown): unknown {
  return error instanceof Error ? Reflect.get(error, 'code') : undefined
}
