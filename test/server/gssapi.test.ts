import { once } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import {
  type GssapiOptions,
  type GssContext,
  type GssStep,
  gssapi,
  type ProtectionName,
  type Session,
} from '../../src/server/index.js'
import { concat } from '../support/bytes.js'
import { deferred } from '../support/deferred.js'
import { connectRequest, hex } from '../support/raw-client.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { startEcho } from '../support/targets.js'
import {
  ABORT,
  CONTEXT,
  CONTEXT_ANSWER,
  frame,
  GRANTED,
  GREETING,
  IDENTITY,
  type InMemory,
  inMemory,
  ToyClient,
  ToyGss,
} from './toy-gss.js'

const REQUEST = connectRequest('echo.example', 7)
const LEVELS: Readonly<Record<ProtectionName, number>> = { none: 0, integrity: 1, confidentiality: 2, selective: 3 }

/** Sends what the client has to say at once, and its FIN; returns what the server answers. */
async function answerTo({ raw }: InMemory, ...bytes: readonly Uint8Array[]): Promise<string> {
  raw.write(concat(...bytes))
  raw.end()
  return (await raw.readToEnd()).toString('hex')
}

/** A context whose hooks are replaced. */
function contextWith(hooks: Readonly<Partial<Record<keyof GssContext, unknown>>>): ToyGss {
  return Object.assign(new ToyGss(), hooks)
}

describe('the negotiation of GSSAPI', () => {
  it.each(Object.entries(LEVELS))(
    'S135 comes to level %s at every split of what the client says',
    async (_name, level) => {
      const script = (client: ToyClient) => {
        const inside = [REQUEST, Buffer.from('payload')]
        return concat(
          GREETING,
          CONTEXT,
          client.level(level),
          ...(level === 0 ? inside : inside.map((part) => client.data(part))),
        )
      }
      const { length } = script(new ToyClient(inMemory().raw, level))
      for (let point = 0; point <= length; point++) {
        const { raw, closed, errors, contexts } = inMemory()
        const client = new ToyClient(raw, level)
        const bytes = script(client)
        // The last turn: byte by byte.
        const pieces =
          point === length
            ? Array.from(bytes, (byte) => Uint8Array.of(byte))
            : [bytes.subarray(0, point), bytes.subarray(point)]
        for (const piece of pieces.slice(0, -1)) if (piece.length > 0) await raw.send(piece)
        raw.stream.end(pieces.at(-1))
        expect(await raw.read(2 + CONTEXT_ANSWER.length / 2)).toBe(`0501${CONTEXT_ANSWER}`)
        const agreed = await client.frame()
        expect([agreed?.type, client.gss.unwrap(agreed?.token ?? hex(''), false)]).toEqual([2, Uint8Array.of(level)])
        const answer = level === 0 ? await raw.readToEnd() : await client.read(Number.POSITIVE_INFINITY)
        expect(answer.toString('hex')).toBe(GRANTED + Buffer.from('payload').toString('hex'))
        expect(await closed).toMatchObject({ reason: 'end', identity: IDENTITY, bytesUp: 7, bytesDown: 7 })
        expect(errors).toEqual([])
        expect(contexts).toMatchObject([{ disposed: 1, usedAfter: 0 }])
      }
    },
  )

  it('S135 the level is wrapped without encryption; what follows as the level says', async () => {
    for (const [level, sealed, demanded] of [
      [1, false, false],
      [2, true, true],
      [3, true, false],
    ] as const) {
      const { raw, contexts, closed } = inMemory()
      const client = new ToyClient(raw, level)
      await client.negotiate(level)
      raw.write(client.data(REQUEST))
      await client.read(10)
      raw.end()
      await closed
      expect(contexts[0]?.calls.slice(3)).toEqual([
        ['unwrap', 6, false],
        ['wrap', 1, false],
        ['unwrap', REQUEST.length + 5, demanded],
        ['wrap', 10, sealed],
      ])
    }
  })

  it.each<[ProtectionName, readonly ProtectionName[] | undefined, ProtectionName]>([
    ['confidentiality', undefined, 'confidentiality'],
    ['integrity', undefined, 'integrity'],
    ['selective', undefined, 'confidentiality'],
    ['none', undefined, 'confidentiality'],
    ['none', ['none'], 'none'],
    ['confidentiality', ['none'], 'none'],
    ['none', ['integrity', 'none'], 'none'],
    ['confidentiality', ['integrity'], 'integrity'],
    ['integrity', ['selective', 'confidentiality'], 'selective'],
  ])('S135 a client that asks for %s where %s is acceptable is answered %s', async (asked, protection, answered) => {
    const { raw } = inMemory({ protection })
    const client = new ToyClient(raw, LEVELS[answered])
    raw.write(concat(GREETING, CONTEXT, client.level(LEVELS[asked])))
    await raw.read(2 + CONTEXT_ANSWER.length / 2)
    const agreed = await client.frame()
    expect(client.gss.unwrap(agreed?.token ?? hex(''), false)).toEqual(Uint8Array.of(LEVELS[answered]))
    // The level that was answered is the one that holds.
    raw.write(answered === 'none' ? REQUEST : client.data(REQUEST))
    const reply = answered === 'none' ? await raw.read(10) : (await client.read(10)).toString('hex')
    expect(reply).toBe(GRANTED)
  })

  it.each([
    ['lenientProtection', true],
    ['by default', false],
  ])('S135 a level that is not wrapped, as NEC sends it: %s', async (_when, lenientProtection) => {
    const { raw, contexts, closed, errors } = inMemory({ lenientProtection })
    raw.write(concat(GREETING, CONTEXT, frame(2, Uint8Array.of(1))))
    const answer = await raw.read(2 + CONTEXT_ANSWER.length / 2)
    expect(answer).toBe(`0501${CONTEXT_ANSWER}`)
    if (!lenientProtection) {
      expect((await raw.readToEnd()).toString('hex')).toBe(ABORT)
      raw.end()
      expect(await closed).toMatchObject({ error: { code: 'ERR_SOCKS_BAD_GSSAPI_FRAME' } })
      expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_BAD_GSSAPI_FRAME'])
      return
    }
    expect(await raw.read(5)).toBe('0102000101')
    expect(contexts[0]?.calls.filter(([name]) => name !== 'accept')).toEqual([])
    const client = new ToyClient(raw, 1)
    raw.write(client.data(REQUEST))
    expect((await client.read(10)).toString('hex')).toBe(GRANTED)
  })

  it('S135 lenientProtection takes a wrapped level, too, and answers in kind', async () => {
    const { raw } = inMemory({ lenientProtection: true })
    await new ToyClient(raw, 1).negotiate(1)
  })

  it.each([
    ['level 4', Uint8Array.of(4)],
    ['level 255', Uint8Array.of(255)],
    ['two levels', Uint8Array.of(1, 2)],
    ['no level', hex('')],
  ])('S135 %s is aborted', async (_what, octets) => {
    const fixture = inMemory()
    const answer = await answerTo(fixture, GREETING, CONTEXT, frame(2, new ToyGss().wrap(octets, false)))
    expect(answer).toBe(`0501${CONTEXT_ANSWER}${ABORT}`)
    expect(await fixture.closed).toMatchObject({ reason: 'auth-failed', error: { code: 'ERR_SOCKS_BAD_GSSAPI_FRAME' } })
    expect(fixture.contexts).toMatchObject([{ disposed: 1, usedAfter: 0 }])
  })

  it('S135 empty tokens go both ways, and 65535 bytes fit', async () => {
    const long = new Uint8Array(65_535).fill(7)
    const accept = vi
      .fn<(token: Uint8Array) => GssStep>()
      .mockReturnValueOnce({})
      .mockReturnValueOnce({ token: long })
      .mockReturnValueOnce({ identity: IDENTITY, token: hex('') })
    const fixture = inMemory({ createContext: () => contextWith({ accept }) })
    const answer = await answerTo(fixture, GREETING, frame(1, ''), frame(1, long), frame(1, ''))
    const expected = concat(hex('05 01'), frame(1, ''), frame(1, long), frame(1, ''), hex(ABORT))
    expect(answer === Buffer.from(expected).toString('hex')).toBe(true)
    expect(accept.mock.calls.map(([{ length }]) => length)).toEqual([0, 65_535, 0])
  })

  it('S135 a token of 65535 bytes in tiny pieces is read in no time', async () => {
    const accept = vi.fn<(token: Uint8Array) => GssStep>().mockReturnValue({ identity: IDENTITY })
    const { raw } = inMemory({ createContext: () => contextWith({ accept }) })
    const token = Uint8Array.from({ length: 65_535 }, (_, index) => index * 7)
    const bytes = concat(GREETING, frame(1, token))
    for (let at = 0; at < bytes.length; at += 16) await raw.send(bytes.subarray(at, at + 16))
    expect(await raw.read(6)).toBe('050101010000')
    expect(Buffer.compare(accept.mock.calls[0]?.[0] ?? hex(''), token)).toBe(0)
  })

  it('S135 after 32 tokens without a context the client is denied', async () => {
    const accept = vi.fn((): GssStep => ({}))
    const fixture = inMemory({ createContext: () => contextWith({ accept }) })
    const answer = await answerTo(fixture, GREETING, ...Array.from({ length: 40 }, () => frame(1, 'more')))
    expect(answer).toBe(`0501${'01010000'.repeat(32)}${ABORT}`)
    expect(accept).toHaveBeenCalledTimes(32)
    expect(await fixture.closed).toMatchObject({ reason: 'auth-failed', error: { code: 'ERR_SOCKS_AUTH_FAILED' } })
  })

  it('S135 the identity reaches authorize; the session is what createContext gets', async () => {
    const createContext = vi.fn((_session: Session) => new ToyGss())
    const authorize = vi.fn(() => false)
    const { raw, closed } = inMemory({ createContext }, { authorize })
    const client = new ToyClient(raw, 2)
    await client.negotiate(2)
    raw.stream.end(client.data(REQUEST))
    expect((await client.read(Number.POSITIVE_INFINITY)).toString('hex')).toBe('05020001000000000000')
    const { session } = await closed
    expect(createContext).toHaveBeenCalledWith(session)
    expect(authorize).toHaveBeenCalledWith(expect.objectContaining({ identity: IDENTITY, session }))
    expect(createContext.mock.results[0]?.value).toMatchObject({ disposed: 1, usedAfter: 0 })
  })

  it('S135 over TCP, too', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { client: connect } = await startServer({ auth: gssapi({ createContext: async () => new ToyGss() }) })
    const raw = await connect()
    const client = new ToyClient(raw, 1)
    await client.negotiate(1)
    raw.stream.end(concat(client.data(connectRequest('127.0.0.1', echo.port)), client.data(Buffer.from('hello'))))
    expect((await client.read(Number.POSITIVE_INFINITY)).subarray(10).toString()).toBe('hello')
  })
})

describe('a client that is turned away', () => {
  it.each([
    ['the first frame', hex('')],
    ['a token', concat(frame(1, 'hello'))],
    ['the context', CONTEXT],
  ])('S135 by wrong frames after %s is sent an abort and nothing else', async (_when, before) => {
    const isAtLevel = before === CONTEXT
    const wrong = [
      '05',
      '00',
      '02 01',
      '01 00',
      '01 04',
      '01 fe',
      '01 03 00 00',
      isAtLevel ? '01 01 00 00' : '01 02 00 00',
    ]
    for (const bytes of wrong) {
      const fixture = inMemory()
      // Without a FIN: the bytes alone tell.
      fixture.raw.write(concat(GREETING, before, hex(bytes)))
      const answer = (await fixture.raw.readToEnd()).toString('hex')
      expect(answer.endsWith(ABORT), bytes).toBe(true)
      expect(answer.length - ABORT.length).toBe(
        isAtLevel ? 4 + CONTEXT_ANSWER.length : before.length === 0 ? 4 : 4 + 32,
      )
      fixture.raw.end()
      expect(await fixture.closed).toMatchObject({ reason: 'auth-failed' })
      expect(fixture.errors.map(codeOf)).toEqual(['ERR_SOCKS_BAD_GSSAPI_FRAME'])
      expect(fixture.contexts).toMatchObject([{ disposed: 1, usedAfter: 0 }])
    }
  })

  it.each([
    ['before a token', hex('')],
    ['between tokens', frame(1, 'hello')],
    ['after the context', CONTEXT],
  ])('S135 because it has aborted %s', async (_when, before) => {
    const fixture = inMemory()
    const answer = await answerTo(fixture, GREETING, before, hex('01 ff'), frame(1, 'more'))
    expect(answer.endsWith(ABORT)).toBe(true)
    expect(await fixture.closed).toMatchObject({ reason: 'auth-failed', error: { code: 'ERR_SOCKS_AUTH_FAILED' } })
    expect(fixture.errors).toEqual([])
    expect(fixture.contexts).toMatchObject([{ disposed: 1, usedAfter: 0 }])
  })

  it('S135 because its FIN came in the middle, at every byte', async () => {
    const script = concat(CONTEXT, new ToyClient(inMemory().raw, 1).level(1))
    for (let length = 0; length < script.length; length++) {
      const fixture = inMemory()
      expect(await answerTo(fixture, GREETING, script.subarray(0, length))).toMatch(/^0501.*01ff$/)
      expect(await fixture.closed).toMatchObject({ error: { code: 'ERR_SOCKS_CONNECTION_CLOSED' } })
      expect(fixture.contexts).toMatchObject([{ disposed: 1, usedAfter: 0 }])
    }
  })

  it.each([[false], [null], [undefined]] as const)('S135 because accept returns %s', async (verdict) => {
    for (const accept of [() => verdict, async () => verdict]) {
      const context = contextWith({ accept })
      const fixture = inMemory({ createContext: () => context })
      expect(await answerTo(fixture, GREETING, CONTEXT)).toBe(`0501${ABORT}`)
      expect(await fixture.closed).toMatchObject({ reason: 'auth-failed', error: { code: 'ERR_SOCKS_AUTH_FAILED' } })
      expect(fixture.errors).toEqual([])
      expect(context).toMatchObject({ disposed: 1, usedAfter: 0 })
    }
  })
})

/** Ways in which a hook fails, each with its name. `undefined` is a denial where accept returns it. */
const FAILURES: readonly (readonly [how: string, hook: () => unknown])[] = [
  [
    'throws',
    () => {
      throw new Error('no keytab')
    },
  ],
  ['rejects', () => Promise.reject(new Error('no keytab'))],
  ['returns undefined', () => undefined],
  ['resolves to undefined', async () => undefined],
  ['returns true', () => true],
  ['returns text', () => 'text'],
  ['returns a list', () => [1, 2]],
  ['returns an error', () => new Error('no')],
]

describe('hooks that fail', () => {
  const CONTEXTS: readonly (readonly [how: string, createContext: () => unknown])[] = [
    ...FAILURES,
    ['returns null', () => null],
    ['returns a part', () => ({ accept: () => false })],
    ['asks for messages of nothing', () => new ToyGss(0)],
    ['asks for messages that fit nowhere', () => new ToyGss(65_536)],
    ['asks for half a byte', () => new ToyGss(1.5)],
  ]

  it.each(CONTEXTS)('S135 createContext that %s denies', async (_how, createContext) => {
    // @ts-expect-error what an application without types may do
    const options: Partial<GssapiOptions> = { createContext }
    const fixture = inMemory(options)
    expect(await answerTo(fixture, GREETING, CONTEXT)).toBe(`0501${ABORT}`)
    expect(await fixture.closed).toMatchObject({ reason: 'auth-failed', error: { code: 'ERR_SOCKS_HOOK_FAILED' } })
    expect(fixture.errors.map(codeOf)).toEqual(['ERR_SOCKS_HOOK_FAILED'])
  })

  it.each([
    ...FAILURES.filter(([how]) => !how.includes('undefined')),
    ['returns a token of text', () => ({ token: 'text' })],
    ['returns a token that fits nowhere', () => ({ token: new Uint8Array(65_536) })],
    ['returns no identity', () => ({ identity: null })],
    ['returns an identity of text', () => ({ identity: 'bob' })],
  ] as const)('S135 accept that %s denies', async (_how, accept) => {
    const context = contextWith({ accept })
    const fixture = inMemory({ createContext: () => context })
    expect(await answerTo(fixture, GREETING, CONTEXT)).toBe(`0501${ABORT}`)
    expect(await fixture.closed).toMatchObject({ reason: 'auth-failed', error: { code: 'ERR_SOCKS_HOOK_FAILED' } })
    expect(fixture.errors.map(codeOf)).toEqual(['ERR_SOCKS_HOOK_FAILED'])
    expect(context.disposed).toBe(1)
  })

  it.each(['wrap', 'unwrap'] as const)('S135 %s that fails at the level denies', async (name) => {
    for (const [how, hook] of FAILURES) {
      const context = contextWith({ [name]: hook })
      const fixture = inMemory({ createContext: () => context })
      const client = new ToyClient(fixture.raw, 1)
      expect(await answerTo(fixture, GREETING, CONTEXT, client.level(1)), how).toBe(`0501${CONTEXT_ANSWER}${ABORT}`)
      // A token that does not unwrap is the client's fault, what unwrap returns is not.
      const isClients = name === 'unwrap' && /^(throws|rejects)/.test(how)
      const code = isClients ? 'ERR_SOCKS_BAD_GSSAPI_FRAME' : 'ERR_SOCKS_HOOK_FAILED'
      expect(await fixture.closed, how).toMatchObject({ reason: 'auth-failed', error: { code } })
      expect(fixture.errors.map(codeOf)).toEqual([code])
      expect(context.disposed).toBe(1)
    }
  })

  it.each(['createContext', 'accept', 'wrap', 'unwrap'] as const)(
    'S135 %s that never settles ends at the deadline, or with the client; what comes later is dropped',
    async (name) => {
      for (const isReset of [false, true]) {
        const asked = deferred()
        const late = deferred<unknown>()
        const hang = () => {
          asked.resolve()
          return late.promise
        }
        const context = contextWith(name === 'createContext' ? {} : { [name]: hang })
        const {
          client: connect,
          closed,
          errors,
        } = await startServer({
          // @ts-expect-error a promise of anything
          auth: gssapi({ createContext: name === 'createContext' ? hang : () => context }),
          handshakeTimeoutMs: isReset ? 10_000 : 40,
        })
        const closing = closed()
        const raw = await connect()
        raw.write(concat(GREETING, CONTEXT, new ToyClient(raw, 1).level(1)))
        await asked.promise
        if (isReset) raw.reset()
        else raw.stream.on('end', () => raw.end())
        expect(await closing).toMatchObject({ reason: isReset ? 'aborted' : 'handshake-timeout' })
        const calls = context.calls.length
        expect(context.disposed).toBe(name === 'createContext' ? 0 : 1)
        late.resolve(name === 'createContext' ? context : name === 'accept' ? { identity: IDENTITY } : Uint8Array.of(1))
        await new Promise(setImmediate)
        expect(context).toMatchObject({ disposed: 1, usedAfter: 0 })
        expect(context.calls.length).toBe(calls)
        expect(errors.filter((error) => codeOf(error) !== 'ERR_SOCKS_HANDSHAKE_TIMEOUT')).toEqual([])
      }
    },
  )

  it.each([...FAILURES, ['never settles', () => new Promise(() => {})]] as const)(
    'S135 dispose that %s does no harm',
    async (_how, hook) => {
      const dispose = vi.fn(hook)
      for (const bytes of [CONTEXT, hex('01 ff')]) {
        const fixture = inMemory({ createContext: () => contextWith({ dispose }) })
        await answerTo(fixture, GREETING, bytes)
        await fixture.closed
      }
      await new Promise(setImmediate)
      expect(dispose).toHaveBeenCalledTimes(2)
    },
  )

  it('S135 a context without dispose and one with a dispose that is no function do no harm', async () => {
    for (const dispose of [undefined, null, 5]) {
      const fixture = inMemory({ createContext: () => contextWith({ dispose }) })
      await answerTo(fixture, GREETING, CONTEXT)
      await fixture.closed
    }
  })

  it('S135 a reset in the middle of the negotiation disposes of the context', async () => {
    const made = deferred<ToyGss>()
    const { client: connect, closed } = await startServer({
      auth: gssapi({
        createContext: () => {
          const context = new ToyGss()
          made.resolve(context)
          return context
        },
      }),
    })
    const closing = closed()
    const raw = await connect()
    raw.write(concat(GREETING, frame(1, 'hello')))
    const context = await made.promise
    raw.reset()
    expect(await closing).toMatchObject({ reason: 'aborted' })
    expect(context).toMatchObject({ disposed: 1, usedAfter: 0 })
    if (!raw.stream.closed) await once(raw.stream, 'close')
  })
})

describe('options of gssapi', () => {
  it.each([
    [undefined],
    [null],
    [{}],
    [{ createContext: 1 }],
    [{ createContext: () => new ToyGss(), protection: [] }],
    [{ createContext: () => new ToyGss(), protection: 'integrity' }],
    [{ createContext: () => new ToyGss(), protection: ['integrity', 'secrecy'] }],
    [{ createContext: () => new ToyGss(), protection: [1] }],
    [{ createContext: () => new ToyGss(), lenientProtection: 1 }],
    [{ createContext: () => new ToyGss(), protections: ['none'] }],
  ])('S135 %o is a TypeError', (options) => {
    // @ts-expect-error wrong on purpose
    expect(() => gssapi(options)).toThrow(TypeError)
  })

  it('S135 the list of protection is taken as it was', async () => {
    const protection: ProtectionName[] = ['integrity']
    const fixture = inMemory({ protection })
    protection.push('none')
    await expect(new ToyClient(fixture.raw, 0).negotiate(0)).rejects.toThrow('answered level 1')
  })
})
