import type { LookupAddress } from 'node:dns'
import { once } from 'node:events'
import { networkInterfaces } from 'node:os'
import { duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import { createOutbound, createSocksServer, egress, type OutboundRequest, SocksError } from '../../src/server/index.js'
import { connectRequest, GREETING_NO_AUTH } from '../support/raw-client.js'
import { cleanup, startServer } from '../support/servers.js'
import { startEcho, startTarget } from '../support/targets.js'

/** A resolver with fixed answers that counts how often it was asked. */
function resolver(...addresses: string[]) {
  return vi.fn((_host: string, _options: unknown, callback: (error: null, addresses: LookupAddress[]) => void): void =>
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    ),
  )
}

describe('authorize', () => {
  it('is asked before DNS, with the name, and a denial is never looked up', async () => {
    const lookup = resolver('127.0.0.1')
    const seen: OutboundRequest[] = []
    const outbound = createOutbound({
      lookup,
      authorize: (request) => {
        seen.push(request)
        return false
      },
    })
    await expect(
      outbound.connect({ host: 'Secret.Example.', port: 443, clientAddress: '127.0.0.1' }),
    ).rejects.toMatchObject({
      code: 'ERR_SOCKS_NOT_ALLOWED',
      replyCode: 2,
      target: 'secret.example:443',
    })
    expect(lookup).not.toHaveBeenCalled()
    expect(seen).toEqual([
      expect.objectContaining({
        command: 'connect',
        type: 'domain',
        host: 'secret.example',
        port: 443,
        identity: {},
        clientAddress: '127.0.0.1',
        session: undefined,
      }),
    ])
    expect(seen[0]?.signal).toBeInstanceOf(AbortSignal)
  })

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('may choose reply code %i', async (code) => {
    const outbound = createOutbound({ authorize: async () => code })
    await expect(outbound.connect({ host: 'a.example', port: 1 })).rejects.toMatchObject({
      code: 'ERR_SOCKS_NOT_ALLOWED',
      replyCode: code,
    })
  })

  it.each([[undefined], [null], [0], [9], [1.5], [-1], ['true'], [{}], [[]], [Number.NaN], [256]])(
    'a verdict of %s is a denial that is told as the fault of the hook',
    async (verdict) => {
      // @ts-expect-error what a rule without types may return
      const outbound = createOutbound({ authorize: () => verdict, dial: () => duplexPair()[0] })
      const failure = { code: 'ERR_SOCKS_HOOK_FAILED', replyCode: 2 }
      await expect(outbound.connect({ host: 'a.example', port: 1 })).rejects.toMatchObject(failure)
    },
  )

  it('that throws or rejects is a denial with the error as cause', async () => {
    const cause = new Error('rules engine down')
    for (const authorize of [
      () => {
        throw cause
      },
      () => Promise.reject(cause),
    ]) {
      const failing = createOutbound({ authorize }).connect({ host: 'a.example', port: 1 })
      await expect(failing).rejects.toMatchObject({ code: 'ERR_SOCKS_HOOK_FAILED', replyCode: 2, cause })
    }
  })

  it('that never settles ends with the dial timeout or the signal of the caller', async () => {
    const authorize = () => new Promise<boolean>(() => {})
    await expect(
      createOutbound({ authorize, dialTimeoutMs: 20 }).connect({ host: 'a.example', port: 1 }),
    ).rejects.toMatchObject({
      code: 'ERR_SOCKS_DIAL_TIMEOUT',
    })
    const controller = new AbortController()
    const pending = createOutbound({ authorize }).connect({ host: 'a.example', port: 1, signal: controller.signal })
    const reason = new Error('changed my mind')
    controller.abort(reason)
    await expect(pending).rejects.toBe(reason)
  })
})

describe('egress', () => {
  const LOCAL = [
    '127.0.0.1',
    '127.255.255.254',
    '::1',
    '169.254.169.254',
    'fe80::1',
    '224.0.0.1',
    'ff02::1',
    '255.255.255.255',
  ]
  const EMBEDDED = ['::ffff:127.0.0.1', '64:ff9b::7f00:1', '2002:7f00:1::1', '::127.0.0.1', '64:ff9b::a9fe:a9fe']
  const METADATA = ['fd00:ec2::254', '168.63.129.16', '100.100.100.200']
  const PRIVATE = [
    '10.0.0.1',
    '172.31.255.255',
    '192.168.1.1',
    'fd12::1',
    '100.64.0.1',
    '192.0.2.1',
    '198.18.0.1',
    '240.0.0.1',
  ]
  const PUBLIC = ['8.8.8.8', '2606:4700::1111', '64:ff9b::808:808']

  async function verdict(policy: ReturnType<typeof egress.any>, address: string): Promise<string> {
    const dialed: string[] = []
    const outbound = createOutbound({
      egress: policy,
      resolve: true,
      lookup: resolver(address),
      dial: ({ addresses = [] }) => {
        dialed.push(...addresses)
        return duplexPair()[0]
      },
    })
    const byName = await outbound.connect({ host: 'name.example', port: 80 }).then(
      () => 'allowed',
      (error) => error.code,
    )
    const byLiteral = await outbound.connect({ host: address, port: 80 }).then(
      () => 'allowed',
      (error) => error.code,
    )
    expect(byLiteral).toBe(byName)
    return byName
  }

  it('publicOnly allows public unicast alone', async () => {
    for (const address of PUBLIC) expect(await verdict(egress.publicOnly(), address), address).toBe('allowed')
    for (const address of [...LOCAL, ...EMBEDDED, ...METADATA, ...PRIVATE]) {
      expect(await verdict(egress.publicOnly(), address), address).toBe('ERR_SOCKS_EGRESS_DENIED')
    }
  })

  it('noLocal refuses what is local to the proxy host, and the metadata services of clouds', async () => {
    for (const address of [...PUBLIC, ...PRIVATE])
      expect(await verdict(egress.noLocal(), address), address).toBe('allowed')
    for (const address of [...LOCAL, ...EMBEDDED, ...METADATA]) {
      expect(await verdict(egress.noLocal(), address), address).toBe('ERR_SOCKS_EGRESS_DENIED')
    }
  })

  it('by default a loopback client may reach loopback, any other client and one without an address may not', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const outbound = createOutbound()
    for (const clientAddress of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1']) {
      const { stream } = await outbound.connect({ host: 'localhost', port: echo.port, clientAddress })
      stream.destroy()
    }
    const foreign = [
      '192.0.2.1',
      '10.0.0.1',
      'fe80::1',
      '::ffff:10.0.0.1',
      '2002:7f00:1::1',
      '64:ff9b::7f00:1',
      '::7f00:1',
    ]
    for (const clientAddress of [undefined, ...foreign]) {
      const attempt = outbound.connect({ host: '127.0.0.1', port: echo.port, clientAddress })
      await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_EGRESS_DENIED', replyCode: 2 })
    }
  })

  it('S57 NAT64, 6to4 and IPv4-compatible addresses are judged by the IPv4 address they carry', async () => {
    for (const address of EMBEDDED) expect(await verdict(egress.publicOnly(), address)).toBe('ERR_SOCKS_EGRESS_DENIED')
  })

  it('judges every address, dials only those it allowed, and looks up once', async () => {
    const allowed = await startEcho()
    cleanup(() => allowed.close())
    const lookup = resolver('10.255.255.1', '::1', '127.0.0.1')
    const seen: string[] = []
    const outbound = createOutbound({
      lookup,
      egress: ({ host }) => {
        seen.push(host)
        return host === '127.0.0.1'
      },
    })
    const { stream } = await outbound.connect({ host: 'three.example', port: allowed.port })
    expect(Reflect.get(stream, 'remoteAddress')).toBe('127.0.0.1')
    stream.destroy()
    expect(seen).toEqual(['10.255.255.1', '::1', '127.0.0.1'])
    expect(lookup).toHaveBeenCalledTimes(1)
  })

  it('an answer that changes between check and dial changes nothing: what was checked is dialed', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    let asked = 0
    const lookup = vi.fn(
      (_host: string, _options: unknown, callback: (error: null, addresses: LookupAddress[]) => void) =>
        callback(null, [{ address: ++asked === 1 ? '192.0.2.1' : '127.0.0.1', family: 4 }]),
    )
    const outbound = createOutbound({ lookup, egress: egress.noLocal(), dialTimeoutMs: 50 })
    await expect(outbound.connect({ host: 'rebind.example', port: echo.port })).rejects.toMatchObject({
      name: 'SocksError',
    })
    expect(echo.accepted).toBe(0)
    await expect(outbound.connect({ host: 'rebind.example', port: echo.port })).rejects.toMatchObject({
      code: 'ERR_SOCKS_EGRESS_DENIED',
    })
    expect(lookup).toHaveBeenCalledTimes(2)
  })

  it('a policy that throws denies; one that returns anything but true denies', async () => {
    const failing = createOutbound({
      egress: () => {
        throw new Error('bug')
      },
    })
    await expect(failing.connect({ host: '192.0.2.1', port: 1 })).rejects.toMatchObject({
      code: 'ERR_SOCKS_HOOK_FAILED',
      replyCode: 2,
    })
    // @ts-expect-error what a policy without types may return
    const truthy = createOutbound({ egress: () => 'yes' })
    await expect(truthy.connect({ host: '192.0.2.1', port: 1 })).rejects.toMatchObject({
      code: 'ERR_SOCKS_HOOK_FAILED',
      replyCode: 2,
    })
    // @ts-expect-error an async policy, whose rejection nobody waits for
    const asynchronous = createOutbound({ egress: () => Promise.reject(new Error('late')) })
    await expect(asynchronous.connect({ host: '8.8.8.8', port: 1 })).rejects.toMatchObject({
      code: 'ERR_SOCKS_HOOK_FAILED',
    })
    // @ts-expect-error a preset that was not called
    expect(() => createOutbound({ egress: egress.publicOnly })).toThrow(TypeError)
    // @ts-expect-error and one inside another
    expect(() => egress.allow(['10.0.0.0/8'], egress.publicOnly)).toThrow(TypeError)
  })

  it('gets the request beside the address, so that rights can differ by identity', async () => {
    const seen: unknown[] = []
    const outbound = createOutbound({
      egress: ({ kind }, { identity, host }) => {
        seen.push([kind, identity.username, host])
        return false
      },
    })
    const attempt = outbound.connect({ host: '127.0.0.1', port: 1, identity: { username: 'bob' } })
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_EGRESS_DENIED' })
    expect(seen).toEqual([['loopback', 'bob', '127.0.0.1']])
  })

  it('several candidates are tried until one answers', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const outbound = createOutbound({ lookup: resolver('::1', '127.0.0.1'), egress: egress.any() })
    const { stream, bound } = await outbound.connect({ host: 'both.example', port: echo.port })
    expect(bound).toMatchObject({ type: 'ipv4', host: '127.0.0.1' })
    stream.destroy()
  })

  it('an address with a zone is no candidate', async () => {
    const outbound = createOutbound({ lookup: resolver('fe80::1%lo'), egress: egress.any() })
    await expect(outbound.connect({ host: 'zone.example', port: 1 })).rejects.toMatchObject({ replyCode: 4 })
  })
})

describe('a resolver', () => {
  it.each(['0.0.0.0', '::', '::ffff:0.0.0.0'])(
    'that answers %s, by which systems reach themselves, has found nothing',
    async (address) => {
      const { server, port } = await startServer({ lookup: resolver(address) })
      const attempt = server.outbound.connect({ host: 'self.example', port, clientAddress: '127.0.0.1' })
      await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_HOST_UNREACHABLE', replyCode: 4 })
    },
  )

  it('that is an async function and rejects is an answer, not an unhandled rejection', async () => {
    const lookup = async () => {
      throw Object.assign(new Error('no'), { code: 'ENOTFOUND' })
    }
    const attempt = createOutbound({ lookup }).connect({ host: 'a.example', port: 1 })
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_HOST_UNREACHABLE', replyCode: 4 })
  })
})

describe('localAddress', () => {
  it('tries the addresses of its family in turn', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const outbound = createOutbound({
      localAddress: '127.0.0.9',
      lookup: resolver('::1', '127.0.0.77', '127.0.0.1'),
      egress: egress.any(),
    })
    const { stream, bound } = await outbound.connect({ host: 'three.example', port: echo.port })
    expect(bound.host).toBe('127.0.0.9')
    expect(Reflect.get(stream, 'remoteAddress')).toBe('127.0.0.1')
    stream.destroy()
    const foreign = createOutbound({ localAddress: '127.0.0.9', lookup: resolver('::1'), egress: egress.any() })
    await expect(foreign.connect({ host: 'six.example', port: 1 })).rejects.toMatchObject({ replyCode: 4 })
    const refusing = createOutbound({
      localAddress: '127.0.0.9',
      lookup: resolver('127.0.0.2', '127.0.0.3'),
      egress: egress.any(),
    })
    await expect(refusing.connect({ host: 'two.example', port: echo.port })).rejects.toMatchObject({ replyCode: 5 })
  })
})

describe('dial', () => {
  it.each([0, -1, 1.5, 256, Number.NaN])(
    'whose error says reply code %s is answered 01, never success',
    async (replyCode) => {
      const dial = () => Promise.reject(new SocksError('ERR_SOCKS_NOT_ALLOWED', 'odd', { replyCode }))
      const { client: connect } = await startServer({ dial })
      const client = await connect()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', 80)]))
      expect((await client.readToEnd()).toString('hex').slice(4, 8)).toBe('0501')
    },
  )

  it('that returns a stream of text is refused, and the stream destroyed', async () => {
    const [text] = duplexPair()
    text.setEncoding('utf8')
    const attempt = createOutbound({ dial: () => text }).connect({ host: 'a.example', port: 1 })
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_HOOK_FAILED', replyCode: 1 })
    expect(text.destroyed).toBe(true)
  })

  it('and authorize get a request that nobody can change on the way', async () => {
    const dial = vi.fn((_request: OutboundRequest) => duplexPair()[0])
    const outbound = createOutbound({
      authorize: (request) => {
        expect(Reflect.set(request, 'host', '127.0.0.1')).toBe(false)
        return true
      },
      dial,
    })
    await outbound.connect({ host: 'a.example', port: 1 })
    expect(dial.mock.calls[0]?.[0].host).toBe('a.example')
  })

  it.each([
    [
      'throws',
      {
        dial: () => {
          throw new TypeError('bug')
        },
      },
    ],
    ['rejects', { dial: () => Promise.reject(new TypeError('bug')) }],
    [
      'has a resolver that throws',
      {
        lookup: () => {
          throw new TypeError('bug')
        },
      },
    ],
  ])(
    'that %s with what is no system error is told as the fault of the hook, and is no denial',
    async (_how, options) => {
      const { server, client: connect, closed, errors } = await startServer(options)
      const denied = vi.fn()
      server.on('denied', denied)
      const closing = closed()
      const client = await connect()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', 80)]))
      expect((await client.readToEnd()).toString('hex').slice(4, 8)).toBe('0501')
      client.end()
      const failure = { code: 'ERR_SOCKS_HOOK_FAILED', cause: new TypeError('bug') }
      expect(await closing).toMatchObject({ reason: 'refused', error: failure })
      expect(errors).toMatchObject([failure])
      expect(denied).not.toHaveBeenCalled()
    },
  )

  it.each(['ERR_SOCKS_AUTH_FAILED', 'ERR_SOCKS_NOT_ALLOWED', 'ERR_SOCKS_PEER_IS_HTTP'] as const)(
    "an upstream's %s is neither a failed login of the client nor a denial nor a fault",
    async (code) => {
      const dial = () => Promise.reject(new SocksError(code, 'said the upstream', { replyCode: 1 }))
      const { server, client: connect, closed, errors } = await startServer({ dial })
      const denied = vi.fn()
      server.on('denied', denied)
      const closing = closed()
      const client = await connect()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('example.com', 80)]))
      expect((await client.readToEnd()).toString('hex').slice(4, 8)).toBe('0501')
      client.end()
      expect(await closing).toMatchObject({ reason: 'refused', error: { code } })
      expect(denied).not.toHaveBeenCalled()
      expect(errors).toEqual([])
    },
  )

  it('gets the name unresolved; egress then judges IP literals alone, by its default', async () => {
    const lookup = resolver('127.0.0.1')
    const dial = vi.fn((_request: OutboundRequest) => duplexPair()[0])
    const outbound = createOutbound({ dial })
    await outbound.connect({ host: 'example.com', port: 80 })
    expect(dial.mock.calls[0]?.[0]).toMatchObject({ type: 'domain', host: 'example.com', port: 80 })
    await expect(outbound.connect({ host: '127.0.0.1', port: 80 })).rejects.toMatchObject({
      code: 'ERR_SOCKS_EGRESS_DENIED',
    })
    await outbound.connect({ host: '127.0.0.1', port: 80, clientAddress: '127.0.0.1' })
    expect(lookup).not.toHaveBeenCalled()
  })

  it('egress with dial and without resolve is refused at construction', () => {
    const dial = () => duplexPair()[0]
    expect(() => createOutbound({ dial, egress: egress.publicOnly() })).toThrow(TypeError)
    expect(() => createSocksServer({ dial, egress: egress.publicOnly() })).toThrow(TypeError)
    expect(() => createOutbound({ resolve: true })).toThrow(TypeError)
    expect(() => createOutbound({ localAddress: 'localhost' })).toThrow(TypeError)
    // @ts-expect-error misspelt
    expect(() => createOutbound({ authorise: () => true })).toThrow(TypeError)
  })

  it('a stream of a dialer that settles after the timeout is destroyed', async () => {
    const [late] = duplexPair()
    let settle: (stream: typeof late) => void = () => {}
    const outbound = createOutbound({ dial: () => new Promise((resolve) => (settle = resolve)), dialTimeoutMs: 20 })
    await expect(outbound.connect({ host: 'a.example', port: 1 })).rejects.toMatchObject({
      code: 'ERR_SOCKS_DIAL_TIMEOUT',
    })
    settle(late)
    if (!late.closed) await once(late, 'close')
    expect(late.destroyed).toBe(true)
  })

  it('options that it does not know, and a port that is none, are refused', async () => {
    const outbound = createOutbound({ dial: () => duplexPair()[0] })
    // @ts-expect-error misspelt
    await expect(outbound.connect({ host: 'a.example', port: 1, client: '127.0.0.1' })).rejects.toThrow(TypeError)
    // @ts-expect-error text
    await expect(outbound.connect({ host: 'a.example', port: '1' })).rejects.toThrow(RangeError)
  })

  it('an abort that came before the call rejects without asking anybody', async () => {
    const authorize = vi.fn()
    const outbound = createOutbound({ authorize })
    const signal = AbortSignal.abort(new Error('too late'))
    await expect(outbound.connect({ host: 'a.example', port: 1, signal })).rejects.toThrow('too late')
    expect(authorize).not.toHaveBeenCalled()
  })

  it('a stream handed out is idle: what the target says first waits for a listener, and a reset ends no process', async () => {
    const target = await startTarget((socket) => socket.write('banner'))
    cleanup(() => target.close())
    const outbound = createOutbound()
    const { stream } = await outbound.connect({ host: '127.0.0.1', port: target.port, clientAddress: '127.0.0.1' })
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(stream.readableFlowing).toBe(null)
    const [chunk] = await once(stream, 'data')
    expect(String(chunk)).toBe('banner')
    ;(await target.connection()).resetAndDestroy()
    await new Promise((resolve) => stream.once('close', resolve))
    expect(stream.errored).toMatchObject({ code: 'ECONNRESET' })
  })
})

describe('loop guard', () => {
  it('a listener of the server is refused, by literal and by name', async () => {
    const { client: connect, port } = await startServer()
    for (const host of ['127.0.0.1', 'localhost', '::ffff:127.0.0.1']) {
      const client = await connect()
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest(host, port)]))
      const answer = (await client.readToEnd()).toString('hex')
      expect(answer.slice(4, 8), host).toMatch(host === 'localhost' ? /050[25]/ : '0502')
    }
  })

  it('a wildcard listener is refused by every address of this host', async () => {
    const server = createSocksServer({ allowAnonymous: true, egress: egress.any() })
    cleanup(() => server.close({ graceMs: 0 }))
    const { port } = await server.listen({ port: 0, host: '0.0.0.0' })
    const own = Object.values(networkInterfaces()).flatMap((entries) => entries ?? [])
    expect(own.length).toBeGreaterThan(0)
    for (const { address } of [...own, { address: '127.0.0.2' }]) {
      const attempt = server.outbound.connect({ host: address.split('%')[0] ?? '', port })
      await expect(attempt, address).rejects.toMatchObject({ code: 'ERR_SOCKS_LOOP', replyCode: 2 })
    }
  })

  it('servers that share an outbound refuse each other, until they are closed', async () => {
    const outbound = createOutbound({ egress: egress.any() })
    const one = createSocksServer({ outbound })
    const two = createSocksServer({ outbound })
    cleanup(() => one.close({ graceMs: 0 }))
    cleanup(() => two.close({ graceMs: 0 }))
    const { port } = await one.listen(0)
    await two.listen(0)
    await expect(two.outbound.connect({ host: '127.0.0.1', port })).rejects.toMatchObject({ code: 'ERR_SOCKS_LOOP' })
    await one.close()
    const attempt = two.outbound.connect({ host: '127.0.0.1', port })
    await expect(attempt).rejects.toMatchObject({
      code: 'ERR_SOCKS_CONNECTION_REFUSED',
      replyCode: 5,
      cause: { code: 'ECONNREFUSED' },
    })
  })
})
