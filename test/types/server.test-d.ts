import type { Duplex } from 'node:stream'
import { describe, expectTypeOf, it } from 'vitest'
import {
  type AuthMethod,
  type CloseReason,
  createOutbound,
  createSocksServer,
  type EgressPolicy,
  egress,
  type Identity,
  isSocksError,
  type ListenAddress,
  type ListenPath,
  noAuth,
  type Outbound,
  type OutboundConnection,
  type ServerOptions,
  type Session,
  type SocksError,
  type SocksErrorCode,
  type SocksServer,
  userPass,
} from '../../src/index.js'

describe('createSocksServer', () => {
  it('takes options that may all be left out, or be undefined', () => {
    expectTypeOf(createSocksServer).parameter(0).toEqualTypeOf<ServerOptions | undefined>()
    expectTypeOf(createSocksServer).returns.toEqualTypeOf<SocksServer>()
    createSocksServer({ auth: undefined, egress: undefined, handshakeTimeoutMs: undefined, outbound: undefined })
    createSocksServer({ auth: [userPass({ ann: 'secret' }), noAuth()], egress: egress.publicOnly() })
    expectTypeOf<ServerOptions['auth']>().toEqualTypeOf<AuthMethod | readonly AuthMethod[] | undefined>()
    expectTypeOf<ServerOptions['dialTimeoutMs']>().toEqualTypeOf<number | undefined>()
    expectTypeOf<ServerOptions['outbound']>().toEqualTypeOf<Outbound | undefined>()
  })

  it('refuses names and values that it does not know', () => {
    // @ts-expect-error A misspelt rule would be a server without rules.
    createSocksServer({ authorise: () => true })
    // @ts-expect-error
    createSocksServer({ auth: userPass })
    // @ts-expect-error
    createSocksServer({ handshakeTimeoutMs: '10s' })
    // @ts-expect-error
    createSocksServer({ egress: 'public' })
  })

  it('tells its hooks what they are asked about', () => {
    createSocksServer({
      auth: userPass((username, password, session) => {
        expectTypeOf(username).toEqualTypeOf<string>()
        expectTypeOf(password).toEqualTypeOf<string>()
        expectTypeOf(session).toEqualTypeOf<Session>()
        return { username, plan: 'pro' }
      }),
      authorize: (request) => {
        expectTypeOf(request.type).toEqualTypeOf<'ipv4' | 'ipv6' | 'domain'>()
        expectTypeOf(request.host).toEqualTypeOf<string>()
        expectTypeOf(request.port).toEqualTypeOf<number>()
        expectTypeOf(request.command).toEqualTypeOf<'connect' | 'bind' | 'udp' | 'resolve' | 'resolve-ptr'>()
        expectTypeOf(request.identity).toEqualTypeOf<Identity>()
        expectTypeOf(request.clientAddress).toEqualTypeOf<string | undefined>()
        expectTypeOf(request.session).toEqualTypeOf<Session | undefined>()
        expectTypeOf(request.signal).toEqualTypeOf<AbortSignal>()
        // @ts-expect-error What rules see cannot be changed.
        request.host = 'elsewhere'
        return request.identity.plan === 'pro'
      },
      egress: ({ type, host, port, kind }) => {
        expectTypeOf(type).toEqualTypeOf<'ipv4' | 'ipv6'>()
        expectTypeOf(host).toEqualTypeOf<string>()
        expectTypeOf(port).toEqualTypeOf<number>()
        expectTypeOf<'public'>().toExtend<typeof kind>()
        return kind === 'public'
      },
    })
    // @ts-expect-error An egress policy answers at once.
    createSocksServer({ egress: async () => true })
  })

  it('takes a dialer that returns a Duplex, or one with its address, now or later', () => {
    type DialResult = ReturnType<NonNullable<ServerOptions['dial']>>
    expectTypeOf<Duplex>().toExtend<DialResult>()
    expectTypeOf<Promise<Duplex>>().toExtend<DialResult>()
    expectTypeOf<{ stream: Duplex; bound: { host: string; port: number } }>().toExtend<DialResult>()
    expectTypeOf<Promise<{ stream: Duplex }>>().toExtend<DialResult>()
    expectTypeOf<string>().not.toExtend<DialResult>()
  })
})

describe('SocksServer', () => {
  const server = createSocksServer()

  it('listens and closes by promise', () => {
    expectTypeOf(server.listen(1080)).resolves.toEqualTypeOf<ListenAddress>()
    expectTypeOf(server.listen({ port: 0, reusePort: true })).resolves.toEqualTypeOf<ListenAddress>()
    expectTypeOf(server.listen({ path: '/run/socks' })).resolves.toEqualTypeOf<ListenPath>()
    expectTypeOf(server.listen({ fd: 3 })).resolves.toEqualTypeOf<ListenAddress | ListenPath>()
    expectTypeOf<ListenAddress>().toEqualTypeOf<{ readonly host: string; readonly port: number }>()
    expectTypeOf(server.listen).toBeCallableWith(1080)
    expectTypeOf(server.listen).toBeCallableWith({ host: '::1', port: 0, backlog: 8, exclusive: true })
    expectTypeOf(server.close).toBeCallableWith({ graceMs: 1 })
    expectTypeOf(server.close).returns.toEqualTypeOf<Promise<void>>()
    expectTypeOf(server[Symbol.asyncDispose]).returns.toEqualTypeOf<Promise<void>>()
    expectTypeOf(server.addresses).toEqualTypeOf<readonly (ListenAddress | ListenPath)[]>()
  })

  it('serves streams', () => {
    expectTypeOf(server.handle).parameter(0).toEqualTypeOf<Duplex>()
    expectTypeOf(server.handle).returns.toEqualTypeOf<Session>()
  })

  it('tells listeners of events what happened', () => {
    server.on('session', (session) => expectTypeOf(session).toEqualTypeOf<Session>())
    server.on('request', ({ destination, identity }) => {
      expectTypeOf(destination.host).toEqualTypeOf<string>()
      expectTypeOf(identity).toEqualTypeOf<Identity>()
    })
    server.on('established', ({ bound }) => {
      expectTypeOf(bound).toEqualTypeOf<{ readonly host: string; readonly port: number }>()
    })
    server.on('denied', ({ error, identity }) => {
      expectTypeOf(error).toEqualTypeOf<SocksError>()
      expectTypeOf(identity).toEqualTypeOf<Identity | undefined>()
    })
    server.on('closed', ({ reason, bytesUp, bytesDown, durationMs, error }) => {
      expectTypeOf(reason).toEqualTypeOf<CloseReason>()
      expectTypeOf([bytesUp, bytesDown, durationMs]).toEqualTypeOf<number[]>()
      expectTypeOf(error).toEqualTypeOf<NodeJS.ErrnoException | undefined>()
    })
    server.on('error', (error, session) => {
      expectTypeOf(error).toEqualTypeOf<Error>()
      expectTypeOf(session).toEqualTypeOf<Session | undefined>()
    })
    // @ts-expect-error There is no such event.
    server.on('connection', () => {})
  })

  it('keeps passwords out of what events carry', () => {
    expectTypeOf<Session>().not.toHaveProperty('password')
    expectTypeOf<Session['credentials']>().toEqualTypeOf<
      { readonly username: Uint8Array; readonly password: Uint8Array } | undefined
    >()
  })
})

describe('Outbound', () => {
  it('is made alone, and connects', () => {
    const outbound = createOutbound({ egress: egress.any() })
    expectTypeOf(outbound.connect).returns.toEqualTypeOf<Promise<OutboundConnection>>()
    expectTypeOf(outbound.connect).toBeCallableWith({ host: 'example.com', port: 443 })
    expectTypeOf<OutboundConnection['stream']>().toEqualTypeOf<Duplex>()
    expectTypeOf(egress.noLocal).returns.toEqualTypeOf<EgressPolicy>()
  })
})

describe('SocksError', () => {
  it('narrows, and has a closed union of codes', () => {
    const error: unknown = undefined
    if (isSocksError(error)) {
      expectTypeOf(error).toEqualTypeOf<SocksError>()
      expectTypeOf(error.code).toEqualTypeOf<SocksErrorCode>()
      expectTypeOf(error.replyCode).toEqualTypeOf<number | undefined>()
      expectTypeOf(error.target).toEqualTypeOf<string | undefined>()
    }
    expectTypeOf<'ERR_SOCKS_LOOP'>().toExtend<SocksErrorCode>()
    expectTypeOf<'ERR_SOCKS_NONSENSE'>().not.toExtend<SocksErrorCode>()
    expectTypeOf<SocksErrorCode>().not.toEqualTypeOf<string>()
  })
})
