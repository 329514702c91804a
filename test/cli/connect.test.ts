import { once } from 'node:events'
import { PassThrough, Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { connect } from '../../src/cli/connect.js'
import { type Peer, SUCCESS, withProxy } from '../support/scripted-proxy.js'

const SECRET = 'alice:hunter2-secret'

interface Run {
  readonly stdin: PassThrough
  readonly stdout: PassThrough
  readonly out: () => string
  readonly err: () => string
  readonly code: Promise<number>
}

function collect(stream: PassThrough): () => string {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  return () => Buffer.concat(chunks).toString()
}

/** Starts the command with standard streams of its own. */
function start(argv: readonly string[], env: Readonly<Record<string, string>> = {}, stdout = new PassThrough()): Run {
  const stdin = new PassThrough()
  const stderr = new PassThrough()
  const [out, err] = [collect(stdout), collect(stderr)]
  return { stdin, stdout, out, err, code: connect(argv, { stdin, stdout, stderr, env }) }
}

/** A target that answers what it was sent once the client has ended. */
async function echoAtEnd(peer: Peer): Promise<void> {
  const socket = await peer.open()
  await once(socket, 'end')
  socket.end(`you said ${peer.unread}`)
}

describe('relay', () => {
  it('the end of stdin is a FIN, and what the target says after it is still written', async () => {
    await withProxy(
      echoAtEnd,
      async (proxy) => {
        const { stdin, out, err, code } = start(['--proxy', proxy.url(), 'example.com', '443'])
        stdin.end('hello')
        expect(await code).toBe(0)
        expect([out(), err()]).toEqual(['you said hello', ''])
      },
      true,
    )
  })

  it('ends with 0 when the target has ended, although stdin is still open', async () => {
    const script = async (peer: Peer): Promise<void> => void (await peer.open()).end('goodbye')
    await withProxy(script, async (proxy) => {
      const { stdin, out, code } = start(['--proxy', proxy.url(), 'example.com', '443'])
      expect(await code).toBe(0)
      expect(out()).toBe('goodbye')
      expect(stdin.destroyed).toBe(false)
      await proxy.peers[0]?.closed
    })
  })

  it('waits until a slow stdout has taken everything', async () => {
    const size = 1 << 20
    const script = async (peer: Peer): Promise<void> => void (await peer.open()).end(Buffer.alloc(size, 'x'))
    await withProxy(script, async (proxy) => {
      let taken = 0
      const stdout = new Writable({
        highWaterMark: 1024,
        write(chunk: Buffer, _encoding, done) {
          taken += chunk.length
          setImmediate(done)
        },
      })
      const io = { stdin: new PassThrough(), stdout, stderr: new PassThrough(), env: {} }
      expect(await connect(['--proxy', proxy.url(), 'example.com', '443'], io)).toBe(0)
      expect(taken).toBe(size)
    })
  })

  it('a stdout that nobody reads any more (EPIPE) is quiet', async () => {
    const script = async (peer: Peer): Promise<void> => void (await peer.open()).write('line\n')
    await withProxy(script, async (proxy) => {
      const stdout = new PassThrough()
      stdout.write = () => {
        stdout.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
        return false
      }
      const { err, code } = start(['--proxy', proxy.url(), 'example.com', '443'], {}, stdout)
      expect(await code).toBe(0)
      expect(err()).toBe('')
      await proxy.peers[0]?.closed
    })
  })

  it('a banner glued to the reply is written', async () => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet()
      await peer.readRequest()
      peer.send(Buffer.concat([SUCCESS, Buffer.from('SSH-2.0-x\r\n')]))
      peer.end()
    }
    await withProxy(script, async (proxy) => {
      const { out, code } = start(['--proxy', proxy.url(), 'example.com', '22'])
      expect(await code).toBe(0)
      expect(out()).toBe('SSH-2.0-x\r\n')
    })
  })

  it('a reset in the middle is one line and exit code 1', async () => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.open()
      await peer.read(1)
      peer.reset()
    }
    await withProxy(script, async (proxy) => {
      const { stdin, err, code } = start(['--proxy', proxy.url(), 'example.com', '22'])
      stdin.write('x')
      expect(await code).toBe(1)
      expect(err()).toBe('tubesock connect: the connection to example.com:22 failed (ECONNRESET)\n')
    })
  })
})

describe('proxies', () => {
  it('-v shows each hop and its BND; TUBESOCK_PROXY is a chain', async () => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet()
      await peer.readRequest()
      peer.send(SUCCESS)
      await peer.greet(2)
      await peer.readCredentials()
      peer.send('01 00')
      await peer.readRequest()
      // A name that would clear the terminal.
      peer.send('05 00 00 03 04 1b 5b 32 4a 00 50')
      peer.end()
    }
    for (const separator of [' ', ',', ', ']) {
      await withProxy(script, async (proxy) => {
        const chain = [proxy.url(), `socks5h://${SECRET}@second.example`].join(separator)
        const { err, code } = start(['-v', 'example.com', '443'], { TUBESOCK_PROXY: chain })
        expect(await code).toBe(0)
        expect(err()).toBe(
          `hop 1: socks5h://127.0.0.1:${proxy.port} -> second.example:1080, BND 127.0.0.1:4660\n` +
            'hop 2: socks5h://second.example:1080 -> example.com:443, BND "\\u001b[2J":80\n',
        )
      })
    }
  })

  it('--proxy comes before TUBESOCK_PROXY', async () => {
    await withProxy(
      echoAtEnd,
      async (proxy) => {
        const env = { TUBESOCK_PROXY: 'socks5h://127.0.0.1:1' }
        const { stdin, code } = start(['--proxy', proxy.url(), 'example.com', '443'], env)
        stdin.end()
        expect(await code).toBe(0)
      },
      true,
    )
  })
})

describe('failures', () => {
  it('names the hop that failed in one line, exit code 1', async () => {
    const script = async (peer: Peer): Promise<void> => {
      await peer.greet()
      await peer.readRequest()
      peer.send('05 05')
    }
    await withProxy(script, async (proxy) => {
      const argv = ['--proxy', proxy.url(SECRET), '--proxy', 'socks5h://second.example', 'example.com', '443']
      const { err, code } = start(argv)
      expect(await code).toBe(1)
      expect(err()).toBe(
        `tubesock connect: proxy socks5h://127.0.0.1:${proxy.port} (hop 1 of 2), asked for second.example:1080: connection refused\n`,
      )
    })
  })

  it('--timeout', async () => {
    await withProxy(
      () => {},
      async (proxy) => {
        const { err, code } = start(['--proxy', proxy.url(SECRET), '--timeout', '0.05', 'example.com', '443'])
        expect(await code).toBe(1)
        expect(err()).toMatch(/^tubesock connect: .*timed out after 50 ms.*\n$/)
        await proxy.peers[0]?.closed
      },
    )
  })

  it.each([
    [[], 'expected HOST PORT'],
    [['example.com'], 'expected HOST PORT'],
    [['example.com', '443'], 'TUBESOCK_PROXY'],
    [['--proxy', 'socks5h://h', 'example.com', '443', 'x'], 'expected HOST PORT'],
    [['--proxy', 'socks5h://h', 'example.com', 'https'], 'PORT'],
    [['--proxy', 'socks5h://h', 'example.com', '65536'], 'PORT'],
    [['--proxy', 'socks5h://h', '127.1', '80'], 'host'],
    [['--proxy', `http://${SECRET}@h`, 'example.com', '443'], 'socks5h://'],
    [['--proxy', `socks5h://${SECRET}@h:x`, 'example.com', '443'], 'malformed'],
    [['--proxy', 'socks5h://h', '--timeout', 'soon', 'example.com', '443'], '--timeout'],
    [[`--proxi=socks5h://${SECRET}@h`, 'example.com', '443'], "Unknown option '--proxi'"],
    [['--proxy'], '--proxy'],
  ])('%j is a wrong command line: one line, exit code 2', async (argv, message) => {
    const { out, err, code } = start(argv)
    expect(await code).toBe(2)
    expect(err()).toContain(message)
    expect(err()).toMatch(/^tubesock connect: [ -~]*\n$/)
    expect(err()).not.toContain('hunter2')
    expect(out()).toBe('')
  })
})
