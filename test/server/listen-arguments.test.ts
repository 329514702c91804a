import { describe, expect, it } from 'vitest'
import { createForwardServer, createSocksServer } from '../../src/server/index.js'
import { cleanup } from '../support/servers.js'

describe.each([
  ['SocksServer', () => createSocksServer({ allowAnonymous: true })],
  ['ForwardServer', () => createForwardServer({ target: { host: '127.0.0.1', port: 1 } })],
])('listen of a %s', (_name, create) => {
  it.each([
    ['a host and a callback', (tell: () => void) => [0, '0.0.0.0', tell]],
    ['a host', () => [0, '0.0.0.0']],
    ['a callback', (tell: () => void) => [0, tell]],
    ['options and a callback', (tell: () => void) => [{ port: 0 }, tell]],
    ['a callback alone', (tell: () => void) => [tell]],
  ])('with %s as in net.Server rejects, and listens nowhere', async (_how, values) => {
    const server = create()
    cleanup(() => server.close({ graceMs: 0 }))
    let calls = 0
    const listening: Promise<unknown> = Reflect.apply(
      server.listen,
      server,
      values(() => calls++),
    )
    const error = await listening.catch((reason: unknown) => reason)
    expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
    expect(String(error)).toContain('listen({ port, host })')
    expect(String(error)).toContain('promise')
    expect(server.addresses).toEqual([])
    expect(calls).toBe(0)
  })

  it('takes an argument that is not there for none', async () => {
    const server = create()
    cleanup(() => server.close({ graceMs: 0 }))
    const listening: Promise<unknown> = Reflect.apply(server.listen, server, [0, undefined])
    expect(await listening).toMatchObject({ host: '127.0.0.1' })
  })
})
