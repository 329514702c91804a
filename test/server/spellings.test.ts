import { once } from 'node:events'
import { createServer } from 'node:net'
import { duplexPair } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { createSocksServer, egress, type ServerOptions } from '../../src/server/index.js'
import { connectRequest, GREETING_NO_AUTH, hex, RawClient } from '../support/raw-client.js'
import { cleanup, startServer } from '../support/servers.js'

const AS_NAME = (text: string) => (port: number, command: number) =>
  Buffer.concat([
    Buffer.from([5, command, 0, 3, Buffer.byteLength(text, 'latin1')]),
    Buffer.from(text, 'latin1'),
    Buffer.from([port >> 8, port & 0xff]),
  ])
const AS_IPV4 = (text: string) => (port: number, command: number) => connectRequest(text, port, command)
const AS_IPV6 = (sixteen: string) => (port: number, command: number) =>
  Buffer.concat([Buffer.from([5, command, 0, 4]), hex(sixteen), Buffer.from([port >> 8, port & 0xff])])

type Ask = (port: number, command: number) => Buffer

/** Every way to say "this host" that some system understands, and whether it stands for "any peer" in a BIND. */
const SPELLINGS: readonly { readonly name: string; readonly ask: Ask; readonly isAnyPeer: boolean }[] = [
  { name: "''", ask: AS_NAME(''), isAnyPeer: true },
  { name: '0', ask: AS_NAME('0'), isAnyPeer: false },
  { name: '127.1', ask: AS_NAME('127.1'), isAnyPeer: false },
  { name: '0x7f000001', ask: AS_NAME('0x7f000001'), isAnyPeer: false },
  { name: '2130706433', ask: AS_NAME('2130706433'), isAnyPeer: false },
  { name: '0177.0.0.1', ask: AS_NAME('0177.0.0.1'), isAnyPeer: false },
  { name: 'localhost', ask: AS_NAME('localhost'), isAnyPeer: false },
  { name: 'LOCALHOST.', ask: AS_NAME('LOCALHOST.'), isAnyPeer: false },
  { name: 'localhost\\0.example.com', ask: AS_NAME('localhost\0.example.com'), isAnyPeer: false },
  { name: '::1 as a name', ask: AS_NAME('::1'), isAnyPeer: false },
  { name: '::1', ask: AS_IPV6('00000000000000000000000000000001'), isAnyPeer: false },
  { name: '[::1]', ask: AS_NAME('[::1]'), isAnyPeer: false },
  { name: '::ffff:127.0.0.1', ask: AS_IPV6('00000000000000000000ffff7f000001'), isAnyPeer: false },
  { name: '::ffff:127.0.0.1 as a name', ask: AS_NAME('::ffff:127.0.0.1'), isAnyPeer: false },
  { name: '64:ff9b::7f00:1', ask: AS_IPV6('0064ff9b00000000000000007f000001'), isAnyPeer: false },
  { name: '2002:7f00:1::', ask: AS_IPV6('20027f00000100000000000000000000'), isAnyPeer: false },
  { name: '0.0.0.0', ask: AS_IPV4('0.0.0.0'), isAnyPeer: true },
  { name: '0.0.0.0 as a name', ask: AS_NAME('0.0.0.0'), isAnyPeer: true },
  { name: '::', ask: AS_IPV6('00000000000000000000000000000000'), isAnyPeer: true },
  { name: '127.0.0.1', ask: AS_IPV4('127.0.0.1'), isAnyPeer: false },
  { name: '127.0.0.1 as a name', ask: AS_NAME('127.0.0.1'), isAnyPeer: false },
  { name: '127.255.255.254', ask: AS_IPV4('127.255.255.254'), isAnyPeer: false },
  { name: 'a name that resolves to loopback', ask: AS_NAME('rebind.example'), isAnyPeer: false },
]

/** A target on loopback, of both families where there are two, that must never be reached. */
async function forbiddenTarget(): Promise<{ port: number; reached: () => number }> {
  let reached = 0
  const server = createServer((socket) => {
    reached++
    socket.destroy()
  })
  server.listen(0, '::')
  await once(server, 'listening')
  cleanup(() => server.close())
  return { port: (server.address() as { port: number }).port, reached: () => reached } // it listens
}

// The name answers with a public address the first time, and with loopback ever after: who asks twice loses.
function rebinding(): NonNullable<ServerOptions['lookup']> {
  const asked = new Map<string, number>()
  return (name, _options, callback) => {
    const count = asked.get(name) ?? 0
    asked.set(name, count + 1)
    const isFirst = name === 'turns.example' && count === 0
    callback(null, [{ address: isFirst ? '198.51.100.1' : '127.0.0.1', family: 4 }])
  }
}

async function answer(client: RawClient, request: Buffer): Promise<string> {
  client.write(Buffer.concat([GREETING_NO_AUTH, request]))
  const bytes = await client.read(12)
  client.end()
  return bytes.slice(4, 8)
}

describe('egress.publicOnly() and the spellings of this host', () => {
  it.each(SPELLINGS)(
    'S48 S49 S53 S54 S55 S57 S58 CONNECT to $name is refused, on a listener and by handle',
    async ({ ask }) => {
      const target = await forbiddenTarget()
      const fixture = await startServer({ egress: egress.publicOnly(), lookup: rebinding() })
      const overListener = await fixture.client()
      expect(await answer(overListener, ask(target.port, 1))).toMatch(/^050[1248]$/)
      const [near, far] = duplexPair()
      fixture.server.handle(near, { clientAddress: '127.0.0.1' })
      expect(await answer(new RawClient(far), ask(target.port, 1))).toMatch(/^050[1248]$/)
      expect(target.reached()).toBe(0)
    },
  )

  it.each(SPELLINGS)('S97 BIND for $name is refused, unless it stands for any peer', async ({ ask, isAnyPeer }) => {
    const fixture = await startServer({ egress: egress.publicOnly(), commands: ['bind'], lookup: rebinding() })
    const overListener = await fixture.client()
    expect(await answer(overListener, ask(4000, 2))).toMatch(isAnyPeer ? /^0500$/ : /^050[1248]$/)
    const [near, far] = duplexPair()
    fixture.server.handle(near, { clientAddress: '127.0.0.1' })
    expect(await answer(new RawClient(far), ask(4000, 2))).toMatch(isAnyPeer ? /^0500$/ : /^050[1248]$/)
  })

  it('a name whose answer changes between check and dial is dialed at what was checked, or not at all', async () => {
    const target = await forbiddenTarget()
    // 198.51.100.1 is documentation, so publicOnly would refuse it: this policy takes it for public.
    const checked: string[] = []
    const server = createSocksServer({
      egress: ({ host }) => {
        checked.push(host)
        return host === '198.51.100.1'
      },
      lookup: rebinding(),
      dialTimeoutMs: 200,
    })
    cleanup(() => server.close({ graceMs: 0 }))
    const { port } = await server.listen(0)
    const first = await RawClient.connect(port)
    // Nobody is at 198.51.100.1: refused, unreachable or timed out, but never loopback.
    expect(await answer(first, connectRequest('turns.example', target.port))).toMatch(/^050[1-6]$/)
    const second = await RawClient.connect(port)
    expect(await answer(second, connectRequest('turns.example', target.port))).toBe('0502')
    expect(checked).toEqual(['198.51.100.1', '127.0.0.1'])
    expect(target.reached()).toBe(0)
    first.stream.destroy()
    second.stream.destroy()
  })
})
