import { once } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import { noAuth, type Session, userPass, type Verifier } from '../../src/server/index.js'
import { deferred } from '../support/deferred.js'
import { connectRequest, credentials, GREETING_USER_PASS, hex } from '../support/raw-client.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { startEcho } from '../support/targets.js'

async function login(verify: Verifier | Record<string, string>, user: string | Uint8Array, pass: string | Uint8Array) {
  const fixture = await startServer({ auth: userPass(verify) })
  const client = await fixture.client()
  const closing = fixture.closed()
  client.write(GREETING_USER_PASS)
  expect(await client.read(2)).toBe('0502')
  client.write(credentials(user, pass))
  return { ...fixture, client, closing, status: await client.read(2) }
}

describe('RFC 1929', () => {
  it('S19 sub-negotiation version 05 closes without an answer, unless lenientAuthVersion', async () => {
    for (const lenientAuthVersion of [false, true]) {
      const { client: connect, errors } = await startServer({ auth: userPass({ u: 'p' }), lenientAuthVersion })
      const client = await connect()
      client.write('05 01 02  05 01 75 01 70')
      expect(await client.read(4)).toBe(lenientAuthVersion ? '05020100' : '0502')
      expect(errors.map(codeOf)).toEqual(lenientAuthVersion ? [] : ['ERR_SOCKS_BAD_AUTH_VERSION'])
    }
  })

  it('S20 the answer is 01 and a status, in success and failure', async () => {
    expect((await login({ u: 'p' }, 'u', 'p')).status).toBe('0100')
    expect((await login({ u: 'p' }, 'u', 'x')).status).toBe('0101')
  })

  it('S22 failure is status 01, then the connection ends; a pipelined request is never looked at', async () => {
    const authorize = vi.fn(() => true)
    const { client: connect, closed } = await startServer({ auth: userPass({ u: 'p' }), authorize })
    const client = await connect()
    const closing = closed()
    client.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'x'), connectRequest('127.0.0.1', 9)]))
    client.end()
    expect((await client.readToEnd()).toString('hex')).toBe('05020101')
    expect(await closing).toMatchObject({ reason: 'auth-failed', error: { code: 'ERR_SOCKS_AUTH_FAILED', status: 1 } })
    expect(authorize).not.toHaveBeenCalled()
  })

  it('S24 an empty username and an empty password reach the verifier', async () => {
    const verify = vi.fn(() => true)
    expect((await login(verify, '', '')).status).toBe('0100')
    expect(verify).toHaveBeenCalledWith('', '', expect.anything())
  })

  it('S26 255 bytes of each are read whole', async () => {
    const name = 'n'.repeat(255)
    const pass = '\u00e9'.repeat(127)
    expect((await login({ [name]: pass }, name, pass)).status).toBe('0100')
    expect((await login({ [name]: pass }, name, pass.slice(1))).status).toBe('0101')
  })

  it('S27 credentials that are not UTF-8 are refused without asking, and stay in session.credentials', async () => {
    const verify = vi.fn(() => true)
    const raw = hex('75 ff')
    const { status, closing } = await login(verify, raw, 'p')
    expect(status).toBe('0101')
    expect(verify).not.toHaveBeenCalled()
    const { session } = await closing
    expect(Buffer.from(session.credentials?.username ?? []).toString('hex')).toBe('75ff')
  })

  it('S27 a byte order mark is part of the name: it does not merge two users', async () => {
    expect((await login({ root: 'p' }, '\ufeffroot', 'p')).status).toBe('0101')
  })

  it.each([
    ['u\0x', 'p', '0101'],
    ['u', 'p\0x', '0101'],
    ['u', 'p', '0100'],
  ])('S28 NUL does not end a name or a password: %j %j', async (name, pass, status) => {
    expect((await login({ u: 'p' }, name, pass)).status).toBe(status)
  })

  it('S29 an unknown user, a wrong password, and names of Object.prototype are all denied', async () => {
    const users = { u: 'p', v: '' }
    for (const [name, pass, status] of [
      ['nobody', 'p', '0101'],
      ['nobody', '', '0101'],
      ['u', '', '0101'],
      ['', '', '0101'],
      ['__proto__', '', '0101'],
      ['constructor', 'p', '0101'],
      ['v', '', '0100'],
    ] as const) {
      expect((await login(users, name, pass)).status, name).toBe(status)
    }
  })

  it('S30 credentials after "no authentication" was chosen are an error, unless lenientAuthMessage', async () => {
    for (const lenientAuthMessage of [false, true]) {
      const { client: connect, errors } = await startServer({
        auth: noAuth(),
        lenientAuthMessage,
        authorize: () => false,
      })
      const client = await connect()
      client.write(Buffer.concat([hex('05 01 00'), credentials('u', 'p'), connectRequest('127.0.0.1', 9)]))
      client.end()
      const answer = (await client.readToEnd()).toString('hex')
      expect(answer).toBe(lenientAuthMessage ? '0500010005020001000000000000' : '0500')
      expect(errors.map(codeOf)).toEqual(lenientAuthMessage ? [] : ['ERR_SOCKS_BAD_VERSION'])
    }
  })

  it('S31 credentials and a request in one segment are answered in order', async () => {
    const { client: connect } = await startServer({ auth: userPass({ u: 'p' }), authorize: () => false })
    const client = await connect()
    client.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'p'), connectRequest('127.0.0.1', 9)]))
    expect((await client.readToEnd()).toString('hex')).toBe('0502010005020001000000000000')
  })

  it('S32 what a client pipelines while the verifier thinks is kept, and judged after it', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const asked = deferred()
    const verdict = deferred<boolean>()
    const { client: connect } = await startServer({
      auth: userPass(() => {
        asked.resolve()
        return verdict.promise
      }),
    })
    const client = await connect()
    client.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'p'), connectRequest('127.0.0.1', echo.port)]))
    await asked.promise
    await client.send(Buffer.from('first '))
    await client.send(Buffer.from('second'))
    verdict.resolve(true)
    expect(await client.read(4)).toBe('05020100')
    expect((await client.read(10)).slice(0, 4)).toBe('0500')
    expect(Buffer.from(await client.read(12), 'hex').toString()).toBe('first second')
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('database down')
      },
    ],
    ['rejects', () => Promise.reject(new Error('database down'))],
  ])('S33 a verifier that %s denies, and is told of in an event', async (_how, verify) => {
    const { status, errors, closing, client } = await login(verify, 'u', 'p')
    expect(status).toBe('0101')
    client.end()
    expect(await closing).toMatchObject({ reason: 'auth-failed' })
    expect(errors.map(codeOf)).toEqual(['ERR_SOCKS_HOOK_FAILED'])
    expect(errors[0]?.cause).toEqual(new Error('database down'))
  })

  it.each([
    [undefined],
    [null],
    [false],
    [0],
    [1],
    ['yes'],
    [''],
    [[]],
    [new Error('no')],
    [new Boolean(false)],
    [Symbol('yes')],
    [() => true],
  ])('S33 a verdict of %s denies', async (verdict) => {
    // @ts-expect-error what a verifier without types may return
    expect((await login(() => verdict, 'u', 'p')).status).toBe('0101')
    expect((await login(async () => verdict, 'u', 'p')).status).toBe('0101')
  })

  it('S34 a reset while the verifier thinks aborts session.signal, and its late verdict changes nothing', async () => {
    const verdict = deferred<boolean>()
    const asked = deferred<Session>()
    const {
      client: connect,
      closed,
      errors,
    } = await startServer({
      auth: userPass((_username, _password, session) => {
        asked.resolve(session)
        return verdict.promise
      }),
    })
    const client = await connect()
    const closing = closed()
    client.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'p')]))
    const session = await asked.promise
    expect(session.signal.aborted).toBe(false)
    client.reset()
    if (!session.signal.aborted) await once(session.signal, 'abort')
    expect(await closing).toMatchObject({ reason: 'aborted', error: { code: 'ERR_SOCKS_ABORTED' } })
    verdict.resolve(true)
    await new Promise(setImmediate)
    expect(errors).toEqual([])
  })

  it('S34 a FIN while the verifier thinks is a half-close: the client is served to the end', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { client: connect } = await startServer({
      auth: userPass(async () => {
        await new Promise((resolve) => setTimeout(resolve, 30))
        return true
      }),
    })
    const client = await connect()
    client.write(
      Buffer.concat([
        GREETING_USER_PASS,
        credentials('u', 'p'),
        connectRequest('127.0.0.1', echo.port),
        Buffer.from('bye'),
      ]),
    )
    client.end()
    const answer = await client.readToEnd()
    expect(answer.subarray(0, 6).toString('hex')).toBe('050201000500')
    expect(answer.subarray(14).toString()).toBe('bye')
  })

  it('S35 a verifier can admit everybody and leave the refusal to authorize', async () => {
    const { client: connect } = await startServer({
      auth: userPass((username, password) => ({ username, known: username === 'u' && password === 'p' })),
      authorize: ({ identity }) => identity.known === true,
    })
    const client = await connect()
    client.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'x'), connectRequest('127.0.0.1', 9)]))
    expect((await client.readToEnd()).toString('hex')).toBe('0502010005020001000000000000')
  })

  it('the deadline of the handshake counts the verifier', async () => {
    const { client: connect, closed } = await startServer({
      auth: userPass(() => new Promise(() => {})),
      handshakeTimeoutMs: 50,
    })
    const client = await connect()
    const closing = closed()
    client.write(Buffer.concat([GREETING_USER_PASS, credentials('u', 'p')]))
    expect((await client.readToEnd()).toString('hex')).toBe('0502')
    expect(await closing).toMatchObject({ reason: 'handshake-timeout' })
  })

  it('a user table that can never match is refused at once, without repeating it', () => {
    expect(() => userPass({ u: 'x'.repeat(256) })).toThrow(RangeError)
    expect(() => userPass({ ['n'.repeat(256)]: 'x' })).toThrow(RangeError)
    // @ts-expect-error not a string
    expect(() => userPass({ u: 1 })).toThrow(TypeError)
    // @ts-expect-error a Map has no names of its own: it would deny everybody
    expect(() => userPass(new Map([['u', 'p']]))).toThrow(TypeError)
    // @ts-expect-error neither function nor object
    expect(() => userPass(null)).toThrow(TypeError)
    try {
      userPass({ u: 'geheim'.repeat(50) })
    } catch (error) {
      expect(String(error)).not.toContain('geheim')
    }
  })

  it('no path leads to a dial without authentication', async () => {
    const dial = vi.fn()
    const { client: connect } = await startServer({ auth: userPass({ u: 'p' }), dial })
    const request = connectRequest('127.0.0.1', 9)
    for (const bytes of [
      Buffer.concat([hex('05 01 00'), request]),
      Buffer.concat([hex('05 02 00 02'), request]),
      Buffer.concat([hex('05 01 02'), request]),
      Buffer.concat([hex('05 01 02'), hex('01 00 00'), request]),
      Buffer.concat([hex('05 01 02'), credentials('u', 'P'), request]),
      Buffer.concat([hex('05 01 ff'), request]),
      request,
    ]) {
      const client = await connect()
      client.write(bytes)
      client.end()
      expect((await client.readToEnd()).toString('hex')).not.toContain('050000')
    }
    expect(dial).not.toHaveBeenCalled()
  })
})
