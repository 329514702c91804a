import { describe, expectTypeOf, it } from 'vitest'
import {
  type Address,
  ClientSession,
  type Decoded,
  type Destination,
  decodeGreeting,
  decodeReply,
  decodeRequest,
  decodeUdpDatagram,
  encodeGreeting,
  encodeReply,
  encodeRequest,
  type Greeting,
  parseDestination,
  parseIP,
  type Reply,
  type Request,
  type ServerEvent,
  ServerSession,
  type UdpDatagram,
} from '../../src/codec/index.js'

describe('messages', () => {
  it('decode to a value with its length, or to undefined: need more', () => {
    expectTypeOf(decodeGreeting).returns.toEqualTypeOf<Decoded<Greeting> | undefined>()
    expectTypeOf(decodeRequest).returns.toEqualTypeOf<Decoded<Request> | undefined>()
    expectTypeOf(decodeReply).returns.toEqualTypeOf<Decoded<Reply> | undefined>()
    expectTypeOf(decodeUdpDatagram).returns.toEqualTypeOf<Decoded<UdpDatagram> | undefined>()
    expectTypeOf<Decoded<number>>().toEqualTypeOf<{ readonly value: number; readonly bytesRead: number }>()
  })

  it('are read from any Uint8Array, from an offset on', () => {
    expectTypeOf(decodeRequest).toBeCallableWith(new Uint8Array())
    expectTypeOf(decodeRequest).toBeCallableWith(new Uint8Array(), 3)
    // @ts-expect-error
    decodeRequest('05')
  })

  it('encode to bytes', () => {
    expectTypeOf(encodeGreeting).returns.toExtend<Uint8Array>()
    expectTypeOf(encodeRequest).returns.toExtend<Uint8Array>()
    expectTypeOf(encodeReply).returns.toExtend<Uint8Array>()
    expectTypeOf(encodeRequest).parameter(0).toEqualTypeOf<Request>()
  })
})

describe('Destination', () => {
  it('is immutable and closed', () => {
    expectTypeOf<Destination>().toEqualTypeOf<{
      readonly type: 'ipv4' | 'ipv6' | 'domain'
      readonly host: string
      readonly port: number
    }>()
    expectTypeOf(parseDestination).returns.toEqualTypeOf<Destination>()
    expectTypeOf<Destination>().toExtend<Address>()
    const destination = parseDestination('example.com', 80)
    // @ts-expect-error
    destination.host = 'elsewhere'
  })

  it('is not what an IP literal parses to', () => {
    expectTypeOf(parseIP).returns.toEqualTypeOf<Uint8Array | undefined>()
  })
})

describe('sessions', () => {
  it('take bytes, give events, and turn messages into bytes', () => {
    const server = new ServerSession()
    expectTypeOf(server.receive).parameter(0).toEqualTypeOf<Uint8Array>()
    expectTypeOf(server.nextEvent).returns.toEqualTypeOf<ServerEvent | undefined>()
    expectTypeOf(server.send({ type: 'method', method: 0 })).toExtend<Uint8Array>()
    expectTypeOf(server.takeRemaining).returns.toExtend<Uint8Array>()
    // @ts-expect-error
    server.send({ type: 'greeting', methods: [0] })
    // @ts-expect-error
    new ClientSession().send({ type: 'method', method: 0 })
  })

  it('narrow events by their type', () => {
    const event = new ServerSession().nextEvent()
    if (event?.type === 'request') expectTypeOf(event.destination).toEqualTypeOf<Destination>()
    if (event?.type === 'greeting') expectTypeOf(event.methods).toEqualTypeOf<readonly number[]>()
  })
})
