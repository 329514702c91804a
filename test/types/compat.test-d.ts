import type { Socket } from 'node:net'
import { type Duplex, PassThrough } from 'node:stream'
import { describe, expectTypeOf, it } from 'vitest'
import {
  type ClientOptions,
  type Connection,
  type ConnectOptions,
  SocksClient,
  type SocksClientChainOptions,
  type SocksClientError,
  type SocksClientEstablishedEvent,
  type SocksClientOptions,
  type SocksConnectionOptions,
  type SocksError,
  type SocksProxy,
} from '../../src/index.js'

const destination = { host: 'example.com', port: 443 }
const proxy: SocksProxy = { host: '127.0.0.1', port: 1080, type: 5 }

describe('SocksClient', () => {
  it('is made from our options, or from one command', () => {
    expectTypeOf(SocksClient).toBeConstructibleWith({ proxy: 'socks5h://127.0.0.1', timeoutMs: 5 })
    expectTypeOf(SocksClient).toBeConstructibleWith({ proxy, command: 'bind', destination })
    // @ts-expect-error A URL is for the other kind.
    new SocksClient({ proxy: 'socks5h://127.0.0.1', command: 'connect', destination })
    // @ts-expect-error No such command.
    new SocksClient({ proxy, command: 'listen', destination })
    // @ts-expect-error A command wants a destination.
    new SocksClient({ proxy, command: 'connect' })
    // @ts-expect-error Unknown to both kinds.
    new SocksClient({ proxy: 'socks5h://127.0.0.1', timeoutMS: 5 })
  })

  it('takes no option of the one kind with the other', () => {
    const url = 'socks5h://127.0.0.1'
    // @ts-expect-error It is timeoutMs.
    new SocksClient({ proxy: url, timeout: 3 })
    // @ts-expect-error It belongs to connect().
    new SocksClient({ proxy: url, existing_socket: new PassThrough() })
    // @ts-expect-error It is on.
    new SocksClient({ proxy: url, set_tcp_nodelay: true })
    // @ts-expect-error They are localAddress and lookup.
    new SocksClient({ proxy: url, socket_options: {} })
  })

  it('takes options that were declared by the name that both kinds have', () => {
    const options: SocksClientOptions = { proxy, command: 'connect', destination }
    const ours: SocksClientOptions = { proxy: 'socks5h://127.0.0.1', requireAuth: true }
    new SocksClient(options)
    new SocksClient(ours)
    const either = (given: SocksClientOptions): SocksClient => {
      if (given.command === undefined) expectTypeOf(given).toExtend<ClientOptions>()
      else expectTypeOf(given).toEqualTypeOf<SocksConnectionOptions>()
      return new SocksClient(given)
    }
    void either
  })

  it('connects with options and gives a promise, with a stream or nothing and gives none', () => {
    const connect = (client: SocksClient, stream: Duplex) => {
      expectTypeOf(client.connect(destination)).resolves.toEqualTypeOf<Connection<Socket>>()
      expectTypeOf(client.connect()).toEqualTypeOf<void>()
      expectTypeOf(client.connect(stream)).toEqualTypeOf<void>()
    }
    void connect
  })

  it('shows the overload with options in errors, to ReturnType and to Parameters: it is the last one', () => {
    expectTypeOf<Awaited<ReturnType<SocksClient['connect']>>>().toEqualTypeOf<Connection<Socket>>()
    expectTypeOf<Parameters<SocksClient['connect']>>().toEqualTypeOf<
      [options: ConnectOptions & { readonly socket?: Socket | undefined }]
    >()
  })

  it('gives a promise for options of which nothing is known: it is the first one, too', () => {
    const connect = (client: SocksClient, options: ReturnType<typeof JSON.parse>) => {
      expectTypeOf(client.connect(options)).toExtend<Promise<Connection<Duplex>>>()
    }
    void connect
  })

  it('has typed events', () => {
    const listen = (client: SocksClient) => {
      client.on('established', (info) => expectTypeOf(info).toEqualTypeOf<SocksClientEstablishedEvent>())
      client.once('bound', ({ remoteHost }) => expectTypeOf(remoteHost?.port).toEqualTypeOf<number | undefined>())
      client.on('error', (error) => expectTypeOf(error).toEqualTypeOf<SocksClientError>())
    }
    void listen
  })

  it('has the statics of npm socks', () => {
    expectTypeOf(SocksClient.createConnection).returns.resolves.toEqualTypeOf<SocksClientEstablishedEvent>()
    expectTypeOf(SocksClient.createConnectionChain).parameter(0).toEqualTypeOf<SocksClientChainOptions>()
    expectTypeOf(SocksClient.createUDPFrame).returns.toExtend<Buffer>()
    expectTypeOf(SocksClient.parseUDPFrame).toBeCallableWith(Buffer.alloc(0))
  })

  it('fails with an error of both classes', () => {
    expectTypeOf<SocksClientError>().toExtend<SocksError>()
    expectTypeOf<SocksClientError['options']>().toEqualTypeOf<SocksConnectionOptions | SocksClientChainOptions>()
  })
})
