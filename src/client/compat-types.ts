// The types of npm `socks` 2.8, by their names: what its users have in their own signatures.

import type { NetConnectOpts, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { SocksClientOptions as ClientOptions } from './client.js'
import type { SocksClientError } from './compat-error.js'

/** SOCKS4 (SOCKS4a for names) or SOCKS5. */
export type SocksProxyType = 4 | 5

/** What to ask of a proxy. */
export type SocksCommandOption = 'connect' | 'bind' | 'associate'

/** Name or IP literal, and port. */
export interface SocksRemoteHost {
  host: string
  /** 0 to 65535. */
  port: number
}

/** A proxy, as npm `socks` describes one. Other keys are ignored. */
export interface SocksProxy {
  /** Used where there is no `host`. */
  ipaddress?: string | undefined
  /** Name or IP literal. Not needed beside `existing_socket`. */
  host?: string | undefined
  /** 1 to 65535. Anything goes beside `existing_socket`. */
  port: number
  type: SocksProxyType
  /** SOCKS5: the username. SOCKS4: the USERID. At most 255 bytes, no NUL; empty is none. */
  userId?: string | undefined
  /** At most 255 bytes, no NUL; empty is none. Not sent to SOCKS4, which has no place for it. */
  password?: string | undefined
  /** Code of a method of your own, 0x80 to 0xfe; the other three `custom_auth` options belong to it. */
  custom_auth_method?: number | undefined
  /** What to send once the proxy has chosen the method. */
  custom_auth_request_handler?: (() => Promise<Uint8Array>) | undefined
  /** Bytes of the proxy's answer. */
  custom_auth_response_size?: number | undefined
  /** Whether that answer lets us in. */
  custom_auth_response_handler?: ((data: Buffer) => Promise<boolean>) | undefined
}

/** One command to one proxy, as npm `socks` describes it. Other keys are ignored. */
export interface SocksConnectionOptions {
  command: SocksCommandOption
  /** `connect`: where to go. `bind`: who will come. `associate`: where our datagrams will come from; 0.0.0.0:0 is unknown. */
  destination: SocksRemoteHost
  proxy: SocksProxy
  /** Milliseconds for all of it; of `bind`, again for the wait for the peer. 0 is no limit. Default 30,000, and no limit for the peer. */
  timeout?: number | undefined
  /** A stream that leads to the proxy already. */
  existing_socket?: Duplex | undefined
  /** `false` turns Nagle's algorithm on. Default `true`. */
  set_tcp_nodelay?: boolean | undefined
  /** Handed to `net.connect`, beside host and port of the proxy; a `path` goes in their place. */
  socket_options?: Partial<NetConnectOpts> | undefined
}

/** What {@link SocksClient} can be made from: our options, or one command as npm `socks` describes it. */
export type SocksClientOptions =
  | (ClientOptions & { readonly [Option in Exclude<keyof SocksConnectionOptions, 'proxy'>]?: undefined })
  | SocksConnectionOptions

/** A way through several proxies, as npm `socks` describes it. Other keys are ignored. */
export interface SocksClientChainOptions {
  command: 'connect'
  destination: SocksRemoteHost
  /** Two or more, in the order in which they are passed. */
  proxies: SocksProxy[]
  /** Milliseconds for all of it, every hop included; 0 is no limit. Default 30,000. */
  timeout?: number | undefined
  /** Pass them in a random order. Your array stays as it is. */
  randomizeChain?: boolean | undefined
}

/** A command that has succeeded. */
export interface SocksClientEstablishedEvent {
  /** The stream to the target or the peer, idle; of `associate`, the connection that keeps the relay alive. */
  socket: Socket
  /** What the proxy told: its own end, the peer (`bind`), or where to send datagrams (`associate`). */
  remoteHost?: SocksRemoteHost | undefined
}

/** A proxy that listens: `remoteHost` is where. */
export type SocksClientBoundEvent = SocksClientEstablishedEvent

/** Events of a {@link SocksClient} that was made for one command. */
export interface SocksClientEvents {
  /** Told to listeners alone: where nobody listens, nothing is thrown. */
  error: [error: SocksClientError]
  bound: [info: SocksClientBoundEvent]
  established: [info: SocksClientEstablishedEvent]
}

/** A datagram between us and the relay of a proxy. */
export interface SocksUDPFrameDetails {
  /** FRAG, 0 to 255. Default 0: a datagram of its own. */
  frameNumber?: number | undefined
  remoteHost: SocksRemoteHost
  data: Buffer
}

/** How `createConnection` and `createConnectionChain` call back. */
export type SocksClientCallback = (error: Error | null, info?: SocksClientEstablishedEvent) => void
