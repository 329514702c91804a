import dns from 'node:dns'
import { syncBuiltinESMExports } from 'node:module'
import { describe, expect, it, vi } from 'vitest'
import {
  type ClosedInfo,
  type DeniedInfo,
  type EstablishedInfo,
  egress,
  type Lookup,
  type OutboundRequest,
  type ServerOptions,
} from '../../src/server/index.js'
import { ipv6Request, type ParsedReply, readReply } from '../support/bind-client.js'
import { deferred } from '../support/deferred.js'
import { connectRequest, GREETING_NO_AUTH, type RawClient } from '../support/raw-client.js'
import { cleanup, codeOf, type Fixture, startServer } from '../support/servers.js'
import { REJECTED, readReply4, socks4Request } from '../support/socks4.js'
import { startTarget } from '../support/targets.js'

const RESOLVE = 0xf0
const RESOLVE_PTR = 0xf1
const LOOPBACK_PTR = connectRequest('127.0.0.1', 0, RESOLVE_PTR)

function startResolver(options: ServerOptions = {}): Promise<Fixture> {
  return startServer({ commands: ['resolve', 'resolve-ptr'], ...options })
}

/** A resolver that has these addresses for every name. */
function answering(...addresses: string[]): Lookup {
  return (_host, _options, callback) =>
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
}

async function start(fixture: Fixture, request: Buffer): Promise<RawClient> {
  const client = await fixture.client()
  client.write(Buffer.concat([GREETING_NO_AUTH, request]))
  await client.read(2)
  return client
}

/** The one reply to a request. Nothing may follow it but the end, and it comes without one of the client's. */
async function ask(fixture: Fixture, request: Buffer): Promise<ParsedReply> {
  const client = await start(fixture, request)
  const reply = await readReply(client)
  expect((await client.readToEnd()).length).toBe(0)
  client.end()
  await client.closed
  return reply
}

/** Puts another function in the place of the system's `getnameinfo` until the test is over. */
function fakeLookupService(answer: string | Error): void {
  const { lookupService } = dns
  cleanup(() => {
    dns.lookupService = lookupService
    syncBuiltinESMExports()
  })
  const fake = (...[, , callback]: Parameters<typeof lookupService>): void => {
    if (typeof answer === 'string') callback(null, answer, 'tcpmux')
    else callback(answer, '', '')
  }
  dns.lookupService = Object.assign(fake, { __promisify__: lookupService.__promisify__ })
  syncBuiltinESMExports()
}

describe('RESOLVE', () => {
  it('S133 is answered 07 unless it is opted for, each command for itself', async () => {
    const request = connectRequest('localhost', 0, RESOLVE)
    const none = await startServer({ commands: ['connect', 'bind'] })
    expect((await ask(none, request)).code).toBe(7)
    expect((await ask(none, LOOPBACK_PTR)).code).toBe(7)
    const one = await startServer({ commands: ['resolve'], lookup: answering('192.0.2.1') })
    expect((await ask(one, request)).code).toBe(0)
    expect((await ask(one, LOOPBACK_PTR)).code).toBe(7)
    const other = await startServer({ commands: ['resolve-ptr'] })
    expect((await ask(other, request)).code).toBe(7)
  })

  it('S133 is never a CONNECT: neither command dials what it is asked about', async () => {
    const target = await startTarget()
    cleanup(() => target.close())
    for (const fixture of [
      await startServer(),
      await startResolver({ commands: ['connect', 'resolve', 'resolve-ptr'] }),
    ]) {
      await ask(fixture, connectRequest('127.0.0.1', target.port, RESOLVE))
      await ask(fixture, connectRequest('127.0.0.1', target.port, RESOLVE_PTR))
    }
    expect(target.accepted).toBe(0)
  })

  it('S133 the answer is BND with port 0, IPv4 where there is one, and the connection ends', async () => {
    const both = await startResolver({ lookup: answering('2001:db8::1', '192.0.2.7', '192.0.2.8') })
    expect(await ask(both, connectRequest('both.example', 0, RESOLVE))).toEqual({ code: 0, host: '192.0.2.7', port: 0 })
    const six = await startResolver({ lookup: answering('2001:db8::1') })
    expect(await ask(six, connectRequest('six.example', 443, RESOLVE))).toEqual({
      code: 0,
      host: '2001:0db8:0000:0000:0000:0000:0000:0001',
      port: 0,
    })
  })

  it('S133 a literal is its own answer, by either ATYP, and no resolver is asked', async () => {
    const lookup = vi.fn<Lookup>()
    const fixture = await startResolver({ lookup })
    for (const request of [
      connectRequest('192.0.2.9', 0, RESOLVE),
      ipv6Request('00000000000000000000ffffc0000209', 0, RESOLVE),
      Buffer.concat([Buffer.from([5, RESOLVE, 0, 3, 9]), Buffer.from('192.0.2.9'), Buffer.alloc(2)]),
    ]) {
      expect(await ask(fixture, request)).toEqual({ code: 0, host: '192.0.2.9', port: 0 })
    }
    expect(lookup).not.toHaveBeenCalled()
  })

  it('S133 asks the system where no resolver is given', async () => {
    const { code, host } = await ask(await startResolver(), connectRequest('localhost', 0, RESOLVE))
    expect([code, ['127.0.0.1', '0000:0000:0000:0000:0000:0000:0000:0001'].includes(host)]).toEqual([0, true])
  })

  it('S133 S73 a name that nobody has is 04, one that is none 01 or 04', async () => {
    const fixture = await startResolver({
      lookup: (_host, _options, callback) => callback(Object.assign(new Error('x'), { code: 'ENOTFOUND' }), []),
    })
    expect((await ask(fixture, connectRequest('nobody.example', 0, RESOLVE))).code).toBe(4)
    expect((await ask(fixture, connectRequest('', 0, RESOLVE))).code).toBe(1)
    expect((await ask(fixture, connectRequest('127.1', 0, RESOLVE))).code).toBe(4)
    // What DNS answers to block a name is no address.
    const blocked = await startResolver({ lookup: answering('0.0.0.0', '::') })
    expect((await ask(blocked, connectRequest('blocked.example', 0, RESOLVE))).code).toBe(4)
  })

  it('S133 S45 authorize is asked before DNS, egress about each address; what they deny is 02 and not told', async () => {
    const lookup = vi.fn<Lookup>(answering('10.0.0.1', '192.0.2.1', '203.0.113.5'))
    const seen: OutboundRequest[] = []
    const fixture = await startResolver({
      lookup,
      authorize: (request) => {
        seen.push(request)
        return request.host !== 'denied.example'
      },
      egress: egress.allow(['203.0.113.0/24']),
    })
    const denied: DeniedInfo[] = []
    fixture.server.on('denied', (info) => denied.push(info))
    expect((await ask(fixture, connectRequest('denied.example', 80, RESOLVE))).code).toBe(2)
    expect(lookup).not.toHaveBeenCalled()
    // The one address of three that the policy allows.
    expect((await ask(fixture, connectRequest('some.example', 0, RESOLVE))).host).toBe('203.0.113.5')
    expect((await ask(fixture, connectRequest('192.0.2.1', 0, RESOLVE))).code).toBe(2)
    expect(seen.map(({ command, host }) => `${command} ${host}`)).toEqual([
      'resolve denied.example',
      'resolve some.example',
      'resolve 192.0.2.1',
    ])
    expect(denied.map(({ rule, destination }) => `${rule} ${destination?.host}`)).toEqual([
      'authorize authorize denied.example',
      'egress allow 192.0.2.1',
    ])
  })

  it('S133 a client from elsewhere is told no local address of this host', async () => {
    const fixture = await startResolver({ proxyProtocol: ['127.0.0.1'], lookup: answering('127.0.0.1') })
    const client = await fixture.client()
    client.write(Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n'))
    client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('localhost', 0, RESOLVE)]))
    await client.read(2)
    expect((await readReply(client)).code).toBe(2)
  })

  it('S133 with a dialer names are its own to know: 07; with resolve beside it they are looked up here', async () => {
    const dial = vi.fn(() => new Promise<never>(() => {}))
    const dialing = await startResolver({ dial })
    expect((await ask(dialing, connectRequest('a.example', 0, RESOLVE))).code).toBe(7)
    expect((await ask(dialing, connectRequest('192.0.2.1', 0, RESOLVE))).code).toBe(7)
    expect((await ask(dialing, LOOPBACK_PTR)).code).toBe(7)
    const resolving = await startResolver({ dial, resolve: true, lookup: answering('192.0.2.3') })
    expect((await ask(resolving, connectRequest('a.example', 0, RESOLVE))).host).toBe('192.0.2.3')
    expect(dial).not.toHaveBeenCalled()
  })

  it('S133 events tell the answer; a look-up is no tunnel, and ends well', async () => {
    const fixture = await startResolver({ lookup: answering('192.0.2.3') })
    const established: EstablishedInfo[] = []
    fixture.server.on('established', (info) => established.push(info))
    const closing = fixture.closed()
    const client = await start(fixture, connectRequest('a.example', 0, RESOLVE))
    await readReply(client)
    await client.readToEnd()
    // The client has not closed yet.
    expect(fixture.server.stats()).toMatchObject({ connections: 1, tunnels: 0, established: 1 })
    client.end()
    const closed: ClosedInfo = await closing
    expect(closed).toMatchObject({ reason: 'end', error: undefined, bytesUp: 0, bytesDown: 0 })
    expect(established).toMatchObject([{ command: 'resolve', bound: { host: '192.0.2.3', port: 0 } }])
    expect(fixture.server.stats()).toMatchObject({ connections: 0, failed: 0, denied: 0 })
  })

  it('S133 a client that never closes after its answer is destroyed', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const fixture = await startResolver({ lookup: answering('192.0.2.3') })
      const closing = fixture.closed()
      const client = await start(fixture, connectRequest('a.example', 0, RESOLVE))
      await client.readToEnd()
      await vi.advanceTimersByTimeAsync(5_000)
      expect(await closing).toMatchObject({ reason: 'end' })
    } finally {
      vi.useRealTimers()
    }
  })

  it('S133 what a client sends behind its request is dropped, not relayed', async () => {
    const fixture = await startResolver({ lookup: answering('192.0.2.3') })
    const request = connectRequest('a.example', 0, RESOLVE)
    expect((await ask(fixture, Buffer.concat([request, request, Buffer.alloc(300_000)]))).code).toBe(0)
  })

  it('S133 a look-up without an end is bounded by dialTimeoutMs; a client that leaves is not waited for', async () => {
    const asked = deferred()
    const fixture = await startResolver({ lookup: () => asked.resolve(), dialTimeoutMs: 40 })
    expect((await ask(fixture, connectRequest('slow.example', 0, RESOLVE))).code).toBe(6)
    const patient = await startResolver({ lookup: () => asked.resolve(), dialTimeoutMs: 0 })
    const closing = patient.closed()
    const client = await start(patient, connectRequest('slow.example', 0, RESOLVE))
    await asked.promise
    client.reset()
    expect(await closing).toMatchObject({ reason: 'aborted' })
  })

  it('S133 a SOCKS4a client is answered in its reply, by IPv4 alone', async () => {
    const ask4 = async (fixture: Fixture, request: Buffer): Promise<string> => {
      const client = await fixture.client()
      client.write(request)
      const bytes = await client.readToEnd()
      client.end()
      return bytes.toString('hex')
    }
    const both = await startResolver({ socks4: true, lookup: answering('2001:db8::1', '192.0.2.7') })
    expect(await ask4(both, socks4Request('both.example', 0, { command: RESOLVE }))).toBe('005a0000c0000207')
    expect(await ask4(both, socks4Request('192.0.2.8', 0, { command: RESOLVE }))).toBe('005a0000c0000208')
    // A name has no room in a reply of SOCKS4.
    expect(await ask4(both, socks4Request('127.0.0.1', 0, { command: RESOLVE_PTR }))).toBe(REJECTED)
    const six = await startResolver({ socks4: true, lookup: answering('2001:db8::1') })
    expect(await ask4(six, socks4Request('six.example', 0, { command: RESOLVE }))).toBe(REJECTED)
    const client = await both.client()
    client.write(socks4Request('a.example', 0, { command: RESOLVE }))
    expect(await readReply4(client)).toEqual({ code: 0x5a, host: '192.0.2.7', port: 0 })
  })
})

describe('RESOLVE_PTR', () => {
  it('S133 tells the name that the system has for an address', async () => {
    const fixture = await startResolver()
    const { code, host, port } = await ask(fixture, LOOPBACK_PTR)
    expect({ code, port }).toEqual({ code: 0, port: 0 })
    expect(host).toMatch(/^[a-z0-9_.-]+$/)
  })

  it('S133 a name instead of an address is 08, and one that holds an address is that address', async () => {
    fakeLookupService('found.example')
    const fixture = await startResolver()
    expect((await ask(fixture, connectRequest('localhost', 0, RESOLVE_PTR))).code).toBe(8)
    const literal = Buffer.concat([Buffer.from([5, RESOLVE_PTR, 0, 3, 9]), Buffer.from('127.0.0.1'), Buffer.alloc(2)])
    expect(await ask(fixture, literal)).toEqual({ code: 0, host: 'found.example', port: 0 })
    const six = ipv6Request(`${'0'.repeat(31)}1`, 0, RESOLVE_PTR)
    expect((await ask(fixture, six)).host).toBe('found.example')
  })

  it('S133 an address without a name is 04: not found, or told as itself', async () => {
    fakeLookupService(Object.assign(new Error('x'), { code: 'ENOTFOUND' }))
    expect((await ask(await startResolver(), LOOPBACK_PTR)).code).toBe(4)
    for (const itself of ['127.0.0.1', 'fe80::1%lo']) {
      fakeLookupService(itself)
      expect((await ask(await startResolver(), LOOPBACK_PTR)).code).toBe(4)
    }
  })

  it.each([
    ['', 'empty'],
    ['a b.example', 'blank'],
    ['evil\0.example', 'NUL'],
    ['ü.example', 'not ASCII'],
    [`${'a.'.repeat(150)}example`, 'too long'],
  ])(
    'S133 what DNS holds that is no name is never passed on: 04, and nothing is told as found (%j, %s)',
    async (name) => {
      fakeLookupService(name)
      const fixture = await startResolver()
      const onEstablished = vi.fn()
      fixture.server.on('established', onEstablished)
      expect((await ask(fixture, LOOPBACK_PTR)).code).toBe(4)
      expect(onEstablished).not.toHaveBeenCalled()
      expect(fixture.errors).toEqual([])
    },
  )

  it('S133 the trailing dot and the case of a name are not passed on', async () => {
    fakeLookupService('Host.Example.')
    expect((await ask(await startResolver(), LOOPBACK_PTR)).host).toBe('host.example')
  })

  it('S133 S45 rules are asked about the address', async () => {
    fakeLookupService('found.example')
    const authorize = vi.fn(() => true)
    const fixture = await startResolver({ authorize, egress: egress.publicOnly() })
    expect((await ask(fixture, LOOPBACK_PTR)).code).toBe(2)
    expect(authorize).toHaveBeenCalledWith(expect.objectContaining({ command: 'resolve-ptr', host: '127.0.0.1' }))
    expect((await ask(fixture, connectRequest('8.8.8.8', 0, RESOLVE_PTR))).host).toBe('found.example')
  })
})

describe('commands that are not served', () => {
  it.each([0x00, 0x04, 0x05, 0x06, 0x7f, 0xf2, 0xf3, 0xff])(
    'S137 S44 %s is answered 07 after its whole request, even with everything switched on',
    async (command) => {
      const fixture = await startServer({ commands: ['connect', 'bind', 'resolve', 'resolve-ptr'] })
      const denied: DeniedInfo[] = []
      fixture.server.on('denied', (info) => denied.push(info))
      for (const host of ['127.0.0.1', 'sp.v2.udp-over-tcp.arpa']) {
        const request = connectRequest(host, 80, command)
        const client = await start(fixture, request.subarray(0, -1))
        expect(client.stream.readableLength).toBe(0)
        client.write(request.subarray(-1))
        expect((await client.readToEnd()).toString('hex')).toBe('05070001000000000000')
        client.end()
      }
      expect(denied.map(({ rule, error }) => [rule, codeOf(error)])).toEqual(
        Array.from({ length: 2 }, () => ['commands', 'ERR_SOCKS_COMMAND_NOT_SUPPORTED']),
      )
    },
  )
})
