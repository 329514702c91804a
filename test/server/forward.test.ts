import type { Socket } from 'node:net'
import { type Duplex, duplexPair } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import {
  createForwardServer,
  createOutbound,
  createSocksServer,
  egress,
  type ForwardServerOptions,
  type ForwardTarget,
  type Session,
} from '../../src/server/index.js'
import { deferred } from '../support/deferred.js'
import { ask, askRemotely, newEcho, newTarget, startForward } from '../support/forward-server.js'
import { RawClient } from '../support/raw-client.js'
import { cleanup, codeOf } from '../support/servers.js'
import { refusedPort } from '../support/targets.js'

const MEGABYTE = Buffer.alloc(1_048_576, 'abcdefghijklmnop')

describe('createForwardServer', () => {
  it('takes each client to its target, with both half-closes and exact counts', async () => {
    const target = await newTarget()
    const fixture = await startForward({ target: { host: '127.0.0.1', port: target.port } })
    for (const first of ['client', 'target']) {
      const closing = fixture.closed()
      const client = await fixture.client()
      const far = new RawClient(await target.connection())
      const [early, late] = first === 'client' ? [client, far] : [far, client]
      early.stream.end(MEGABYTE)
      expect((await late.readToEnd()).equals(MEGABYTE)).toBe(true)
      late.stream.end(Buffer.concat([MEGABYTE, MEGABYTE]))
      expect(await early.readToEnd()).toHaveLength(2 * MEGABYTE.length)
      const [bytesUp, bytesDown] = first === 'client' ? [1, 2] : [2, 1]
      expect(await closing).toMatchObject({
        reason: 'end',
        bytesUp: bytesUp * MEGABYTE.length,
        bytesDown: bytesDown * MEGABYTE.length,
        identity: {},
        destination: { type: 'ipv4', host: '127.0.0.1', port: target.port },
      })
    }
    expect(fixture.established).toMatchObject([{ command: 'connect', rules: ['egress any'] }, {}])
    const total = 3 * MEGABYTE.length
    expect(fixture.server.stats()).toMatchObject({
      accepted: 2,
      established: 2,
      failed: 0,
      bytesUp: total,
      bytesDown: total,
    })
  })

  it('the target may speak first, to a client that never says a word', async () => {
    const target = await newTarget((socket) => socket.end('220 ready\r\n'))
    const fixture = await startForward({ target: { host: 'localhost', port: target.port } })
    const client = await fixture.client()
    expect(String(await client.readToEnd())).toBe('220 ready\r\n')
    expect(fixture.server.stats()).toMatchObject({ tunnels: 1 })
  })

  it('a target that refuses closes the client without a byte, and is no fault', async () => {
    const port = await refusedPort()
    const fixture = await startForward({ target: { host: '127.0.0.1', port } })
    const closing = fixture.closed()
    expect(await ask(fixture)).toBe('')
    expect(await closing).toMatchObject({ reason: 'refused', error: { code: 'ERR_SOCKS_CONNECTION_REFUSED' } })
    expect([fixture.errors, fixture.denied]).toEqual([[], []])
  })

  it.each(['immediate', 'by promise'])('a function chooses a target for each client: a balancer (%s)', async (how) => {
    const targets = await Promise.all(['one', 'two'].map((name) => newTarget((socket) => socket.end(name))))
    const asked: Session[] = []
    const choose: ForwardTarget = (_socket, session) => {
      asked.push(session)
      const target = targets[asked.length % 2]
      const chosen = { host: '127.0.0.1', port: target?.port ?? 0 }
      return how === 'immediate' ? chosen : Promise.resolve(chosen)
    }
    const fixture = await startForward({ target: choose })
    const answers = [await ask(fixture), await ask(fixture), await ask(fixture)]
    expect(answers).toEqual(['two', 'one', 'two'])
    expect(asked.map(({ id, clientAddress }) => `${id} ${clientAddress}`)).toEqual([
      '1 127.0.0.1',
      '2 127.0.0.1',
      '3 127.0.0.1',
    ])
  })

  it('a function sees the near end of the socket, which is the original destination with TPROXY', async () => {
    const echo = await newEcho()
    const seen: unknown[] = []
    const fixture = await startForward({
      target: (socket) => {
        const { localAddress, localPort } = socket as Socket // `listen` accepts sockets
        seen.push([localAddress, localPort])
        return { host: '127.0.0.1', port: echo.port }
      },
    })
    expect(await ask(fixture)).toBe('hello')
    expect(seen).toEqual([['127.0.0.1', fixture.port]])
  })

  it.each<[string, () => unknown, string]>([
    ['returns nothing', () => undefined, 'ERR_SOCKS_NOT_ALLOWED'],
    ['resolves to nothing', async () => undefined, 'ERR_SOCKS_NOT_ALLOWED'],
    ['throws', () => assertFails(), 'ERR_SOCKS_HOOK_FAILED'],
    ['rejects', async () => assertFails(), 'ERR_SOCKS_HOOK_FAILED'],
    ['returns null', () => null, 'ERR_SOCKS_HOOK_FAILED'],
    ['returns a text', () => 'localhost:80', 'ERR_SOCKS_HOOK_FAILED'],
    ['returns no host', () => ({ port: 80 }), 'ERR_SOCKS_HOOK_FAILED'],
    ['returns no port', () => ({ host: '127.0.0.1' }), 'ERR_SOCKS_HOOK_FAILED'],
    ['returns port 0', () => ({ host: '127.0.0.1', port: 0 }), 'ERR_SOCKS_HOOK_FAILED'],
    ['returns a port that is text', () => ({ host: '127.0.0.1', port: '80' }), 'ERR_SOCKS_HOOK_FAILED'],
    ['returns a spelling of loopback', () => ({ host: '127.1', port: 80 }), 'ERR_SOCKS_HOOK_FAILED'],
  ])('a function that %s turns the client away, once, and says why', async (_what, target, code) => {
    // `as`: a function in plain JavaScript may return anything.
    const fixture = await startForward({ target: target as ForwardTarget })
    const closing = fixture.closed()
    expect(await ask(fixture)).toBe('')
    expect(await closing).toMatchObject({ reason: 'refused', error: { code } })
    expect(fixture.denied.map(({ rule }) => rule)).toEqual([
      code === 'ERR_SOCKS_NOT_ALLOWED' ? 'target' : 'target hook',
    ])
    expect(fixture.errors.map(codeOf)).toEqual(code === 'ERR_SOCKS_NOT_ALLOWED' ? [] : [code])
  })

  it('a function that never settles is ended by the handshake deadline, or by the client', async () => {
    const never = (): Promise<never> => new Promise(() => {})
    const hurried = await startForward({ target: never, handshakeTimeoutMs: 40 })
    const closing = hurried.closed()
    expect(await ask(hurried)).toBe('')
    expect(await closing).toMatchObject({ reason: 'handshake-timeout' })
    const asked = deferred<Session>()
    const patient = await startForward({
      target: (_socket, session) => {
        asked.resolve(session)
        return never()
      },
      handshakeTimeoutMs: 0,
    })
    const gone = patient.closed()
    const client = await patient.client()
    const { signal } = await asked.promise
    client.reset()
    await gone
    expect(signal.aborted).toBe(true)
  })

  it('S86 a reset while the target is dialed cancels it and is told as such; a FIN is a half-close', async () => {
    const dialing: { signal: AbortSignal; resolve(stream: Duplex): void }[] = []
    const fixture = await startForward({
      target: { host: 'a.example', port: 80 },
      dial: ({ signal }) => new Promise<Duplex>((resolve) => dialing.push({ signal, resolve })),
    })
    const closing = fixture.closed()
    const leaving = await fixture.client()
    await vi.waitFor(() => expect(dialing).toHaveLength(1), 10_000)
    leaving.reset()
    expect(await closing).toMatchObject({ reason: 'aborted', error: { code: 'ERR_SOCKS_ABORTED' } })
    expect(dialing[0]?.signal.aborted).toBe(true)
    const [late] = duplexPair()
    dialing[0]?.resolve(late)
    await vi.waitFor(() => expect(late.destroyed).toBe(true), 10_000)
    const patient = await fixture.client()
    patient.stream.end('before the dial')
    await vi.waitFor(() => expect(dialing).toHaveLength(2), 10_000)
    const [near, far] = duplexPair()
    dialing[1]?.resolve(near)
    expect(String(await new RawClient(far).readToEnd())).toBe('before the dial')
    far.end('answer')
    expect(String(await patient.readToEnd())).toBe('answer')
  })

  it.each<[unknown]>([
    [{}],
    [{ target: undefined }],
    [{ target: 'localhost:80' }],
    [{ target: null }],
    [{ target: { port: 80 } }],
    [{ target: { host: '', port: 80 } }],
    [{ target: { host: 5, port: 80 } }],
    [{ target: { host: '127.0.0.1', port: 0 } }],
    [{ target: { host: '127.0.0.1', port: '80' } }],
    [{ target: { host: '127.0.0.1' } }],
    [{ target: { host: '127.1', port: 80 } }],
    [{ target: { host: '0.0.0.0', port: 80 } }],
    [{ target: { host: '::', port: 80 } }],
    [{ target: { host: '127.0.0.1', port: 80 }, sendProxyHeader: 3 }],
    [{ target: { host: '127.0.0.1', port: 80 }, sendProxyHeader: true }],
    [{ target: { host: '127.0.0.1', port: 80 }, auth: [] }],
    [{ target: { host: '127.0.0.1', port: 80 }, maxConnections: 0 }],
    [{ target: { host: '127.0.0.1', port: 80 }, outbound: createOutbound(), egress: egress.any() }],
    [null],
  ])('refuses %j at once', (options) => {
    // `as`: wrong on purpose
    expect(() => createForwardServer(options as ForwardServerOptions)).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/^ERR_(INVALID_ARG_VALUE|OUT_OF_RANGE|SOCKS_INVALID_HOST)$/),
      }),
    )
  })
})

describe('where a forward server leads', () => {
  it('a fixed target is its operator’s choice: any address, for any client, unless egress says otherwise', async () => {
    const echo = await newEcho()
    const target = { host: '127.0.0.1', port: echo.port }
    const fixed = await startForward({ target })
    expect(await askRemotely(fixed.server)).toBe('hello')
    await fixed.server.listen({ port: 0, host: '0.0.0.0' })
    const guarded = await startForward({ target, egress: egress.publicOnly() })
    expect(await ask(guarded)).toBe('')
    expect(guarded.denied).toMatchObject([{ rule: 'egress publicOnly' }])
    const asked = await startForward({ target, authorize: ({ clientAddress }) => clientAddress === '127.0.0.1' })
    expect(await ask(asked)).toBe('hello')
    expect(await askRemotely(asked.server)).toBe('')
  })

  it('a fixed target that is dialed by the application is its operator’s choice, too', async () => {
    const dialed: string[] = []
    const fixture = await startForward({
      target: { host: '127.0.0.1', port: 5_432 },
      dial: ({ host, port }) => {
        dialed.push(`${host}:${port}`)
        const [near, far] = duplexPair()
        far.pipe(far)
        return near
      },
    })
    expect(await ask(fixture)).toBe('hello')
    expect(await askRemotely(fixture.server)).toBe('hello')
    expect(dialed).toEqual(['127.0.0.1:5432', '127.0.0.1:5432'])
  })

  it('what a function chooses is judged by the default rules: local clients anything, others nothing local', async () => {
    const echo = await newEcho()
    const fixture = await startForward({ target: () => ({ host: '127.0.0.1', port: echo.port }) })
    expect(await ask(fixture)).toBe('hello')
    expect(await askRemotely(fixture.server)).toBe('')
    expect(fixture.denied).toMatchObject([{ rule: 'egress noLocal', destination: { host: '127.0.0.1' } }])
  })

  it('a way out that is shared brings its rules along', async () => {
    const echo = await newEcho()
    const authorize = vi.fn(({ port }: { port: number }) => port === echo.port)
    const outbound = createOutbound({ authorize, egress: egress.allow(['127.0.0.0/8']) })
    const socks = createSocksServer({ outbound })
    cleanup(() => socks.close({ graceMs: 0 }))
    const { port } = await socks.listen(0)
    expect(await ask(await startForward({ outbound, target: { host: '127.0.0.1', port: echo.port } }))).toBe('hello')
    const other = await startForward({ outbound, target: { host: '127.0.0.1', port } })
    expect(await ask(other)).toBe('')
    expect(authorize).toHaveBeenCalledWith(expect.objectContaining({ command: 'connect', session: expect.anything() }))
  })

  it('never to itself', async () => {
    const ports: number[] = []
    const fixture = await startForward({ target: () => ({ host: '127.0.0.1', port: ports[0] ?? 0 }) })
    ports.push(fixture.port)
    expect(await ask(fixture)).toBe('')
    expect(fixture.denied).toMatchObject([{ rule: 'loop guard', error: { code: 'ERR_SOCKS_LOOP' } }])
  })
})

function assertFails(): never {
  throw new Error('boom')
}
