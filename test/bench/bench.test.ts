import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { Child } from '../../bench/lib/child.mjs'
import { ratios, summary } from '../../bench/lib/statistics.mjs'
import { ticks } from '../../bench/lib/svg.mjs'
import { run } from '../support/cli.js'
import { cleanup } from '../support/servers.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LOAD = new URL('../../bench/lib/load.mjs', import.meta.url)
// Without packages, whatever has been installed beside the benches.
const FOLDER = mkdtempSync(join(tmpdir(), 'tubesock-bench-'))
const BENCH_TIMEOUT_MS = 120_000
const SHORT = ['--quick', '--rounds', '1', '--seconds', '0.15']

afterAll(() => rmSync(FOLDER, { recursive: true, force: true }))

async function bench(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await run(process.execPath, args, { cwd: ROOT })
  return { code, stdout: stdout.toString(), stderr }
}

function saved(name: string): string {
  return readFileSync(join(FOLDER, name), 'utf8')
}

describe('benches', () => {
  it.each(['bench/relay.mjs', 'bench/codec.mjs', 'bench/udp.mjs', 'scripts/bench.mjs'])(
    '%s explains itself',
    async (file) => {
      const { code, stdout } = await bench(file, '--help')
      expect(code).toBe(0)
      expect(stdout).toMatch(/^usage: /)
      expect(stdout).toContain('--quick')
    },
  )

  it.each([
    [['bench/relay.mjs', '--servers', 'tubesock,dante'], 'not dante'],
    [['bench/relay.mjs', '--modes', 'bulk'], 'not bulk'],
    [['bench/relay.mjs', '--rounds', 'many'], '--rounds takes a number'],
    [['bench/relay.mjs', '--servers', 'socksv5', '--packages', FOLDER], 'no server is left'],
    [['bench/codec.mjs', ...SHORT, '--packages', FOLDER, '--only', 'HTTP'], 'no case has HTTP'],
    [['scripts/bench.mjs', 'everything'], 'no bench of the name everything'],
  ])('%j is refused', async (args, told) => {
    const { code, stderr } = await bench(...args)
    expect(code).toBe(2)
    expect(stderr).toContain(told)
  })

  it(
    'relay measures every mode, says which servers are missing, and writes JSON and a drawing',
    async () => {
      const files = ['--json', join(FOLDER, 'relay.json'), '--svg', join(FOLDER, 'relay.svg')]
      const options = ['--warm-up', '0.05', '--tunnels', '100', '--packages', FOLDER]
      const { code, stdout, stderr } = await bench('bench/relay.mjs', ...SHORT, ...options, ...files)
      expect(stderr).toContain('left out: socksv5, which needs the npm package socksv5')
      expect(stderr).toContain('left out: pondwader, which needs the npm package @pondwader/socks5-server')
      expect(stderr).toContain('to have them: npm install --prefix bench/packages')
      expect({ code, failed: stderr.match(/FAILED.*/g) }).toEqual({ code: 0, failed: null })
      expect(stdout).toContain('tubesock beside others')
      const { figures, node } = JSON.parse(saved('relay.json'))
      expect(node).toBe(process.version)
      expect(figures.map(({ mode }: { mode: string }) => mode)).toEqual([
        'bulk-down',
        'bulk-up',
        'cycles',
        'ping-pong',
        'ping-pong-64',
        'idle',
      ])
      for (const { servers } of figures) {
        expect(servers).toMatchObject([
          { server: 'tubesock', cost: { median: expect.any(Number) } },
          { server: 'floor', cost: { median: expect.any(Number) } },
        ])
      }
      expect(saved('relay.svg')).toMatch(/^<svg [\s\S]*<\/svg>\n$/)
      expect(saved('relay.svg')).not.toContain('NaN')
    },
    BENCH_TIMEOUT_MS,
  )

  it(
    'relay --scale measures ever more tunnels and streams',
    async () => {
      const files = ['--json', join(FOLDER, 'scale.json'), '--svg', join(FOLDER, 'scale.svg')]
      const options = ['--warm-up', '0.05', '--tunnels', '200', '--servers', 'tubesock']
      const { code, stderr } = await bench('bench/relay.mjs', '--scale', ...SHORT, ...options, ...files)
      expect({ code, failed: stderr.match(/FAILED.*/g) }).toEqual({ code: 0, failed: null })
      const { curves } = JSON.parse(saved('scale.json'))
      const places = curves.map(({ servers }: { servers: { points: { x: number }[] }[] }) =>
        servers[0]?.points.map(({ x }) => x),
      )
      expect(places).toEqual([
        [100, 200],
        [100, 200],
        [1, 16, 64],
        [1, 16, 64],
      ])
      expect(saved('scale.svg')).toMatch(/^<svg [\s\S]*<\/svg>\n$/)
      expect(saved('scale.svg')).not.toContain('NaN')
    },
    BENCH_TIMEOUT_MS,
  )

  it(
    'codec checks and measures every message, also without mitata',
    async () => {
      const options = ['--packages', FOLDER, '--json', join(FOLDER, 'codec.json')]
      const { code, stdout, stderr } = await bench('bench/codec.mjs', ...SHORT, '--seconds', '0.001', ...options)
      expect(stderr).toContain('mitata is missing')
      expect(code).toBe(0)
      expect(stdout).toMatch(/^decode CONNECT request, IPv4, whole: \d/)
      const { rows } = JSON.parse(saved('codec.json'))
      expect(rows.length).toBeGreaterThan(40)
      for (const row of rows) {
        expect(row).toMatchObject({ nanoseconds: { median: expect.any(Number) }, bytes: expect.any(Number) })
      }
    },
    BENCH_TIMEOUT_MS,
  )

  it('udp compares relays', async () => {
    const { code } = await bench('bench/udp.mjs', ...SHORT, '--json', join(FOLDER, 'udp.json'))
    expect(code).toBe(0)
    expect(JSON.parse(saved('udp.json')).ratios).toMatchObject({ 'tubesock / bare': { median: expect.any(Number) } })
  })
})

describe('the load of the benches', () => {
  const JOBS = ['bulk-down', 'bulk-up', 'ping-pong', 'cycles', 'idle'] as const
  const changed = (chunk: Buffer): Buffer => {
    const copy = Buffer.from(chunk)
    copy[copy.length - 1] = ~(copy.at(-1) ?? 0)
    return copy
  }
  const shortened = (chunk: Buffer): Buffer => chunk.subarray(0, -1)
  const same = (chunk: Buffer): Buffer => chunk

  it.each(JOBS)('finds nothing wrong with an honest relay: %s', async (kind) => {
    expect(await errorsOf(kind, same, same)).toEqual([])
  })

  it.each([
    ['bulk-down', 'changes', same, changed, 'is not what was sent'],
    ['bulk-down', 'loses', same, shortened, 'is not what was sent'],
    ['bulk-up', 'changes', changed, same, 'is not what was sent'],
    ['bulk-up', 'loses', shortened, same, 'is not what was sent'],
    ['ping-pong', 'changes', same, changed, 'not what was sent'],
    ['cycles', 'changes', same, changed, 'not what was sent'],
    ['idle', 'changes', same, changed, 'not what was sent'],
  ] as const)('%s: finds a relay that %s a byte', async (kind, _what, up, down, told) => {
    expect((await errorsOf(kind, up, down)).join('\n')).toContain(told)
  })

  /** What a load says about a relay that does these to the 20th piece of each tunnel, or to the first of one that has but one. */
  async function errorsOf(
    kind: (typeof JOBS)[number],
    up: (chunk: Buffer) => Buffer,
    down: (chunk: Buffer) => Buffer,
  ): Promise<string[]> {
    const { child, ready } = await Child.start(LOAD, [])
    cleanup(() => child.end())
    const piece = kind === 'cycles' || kind === 'idle' ? 0 : 20
    const serverPort = await startRelay(ready.targetPorts[0], piece, up, down)
    const way = { serverPort, targetPorts: ready.targetPorts, speaksSocks: false }
    try {
      await child.ask('start', { job: { kind, count: 2 }, way })
      let { work } = await child.ask('mark')
      // Something must have come through, and with it the piece that is spoiled.
      for (let looks = 0; work < 1_000 && kind !== 'idle' && looks < 50; looks++) {
        await new Promise((resolve) => setTimeout(resolve, 10))
        work = (await child.ask('mark')).work
      }
      return await child.ask('stop')
    } catch (error) {
      return [String(error)]
    }
  }
})

async function startRelay(
  targetPort: number,
  piece: number,
  up: (chunk: Buffer) => Buffer,
  down: (chunk: Buffer) => Buffer,
): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const target = connect({ port: targetPort, host: '127.0.0.1', allowHalfOpen: true })
    for (const socket of [client, target]) {
      cleanup(() => socket.destroy())
      socket.on('error', () => {
        client.destroy()
        target.destroy()
      })
      socket.on('close', () => (socket === client ? target : client).destroySoon())
    }
    pass(client, target, piece, up)
    pass(target, client, piece, down)
  })
  cleanup(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port // of a server that listens on an address
}

function pass(from: Socket, to: Socket, piece: number, spoil: (chunk: Buffer) => Buffer): void {
  let pieces = 0
  from.on('data', (chunk: Buffer) => {
    if (to.write(pieces++ === piece ? spoil(chunk) : chunk)) return
    from.pause()
    to.once('drain', () => from.resume())
  })
  from.on('end', () => to.end())
}

describe('figures of the benches', () => {
  it('are summed up without those that failed', () => {
    expect(summary([3, Number.NaN, 1, 2])).toEqual({ median: 2, min: 1, max: 3 })
    expect(summary([4, 1])).toEqual({ median: 2.5, min: 1, max: 4 })
    expect(summary([]).median).toBeNaN()
  })

  it('are compared round by round', () => {
    expect(ratios([2, 30, 4], [1, 10, 1])).toEqual({ median: 3, min: 2, max: 4 })
  })

  it.each([
    [1, [0, 0.2, 0.4, 0.6, 0.8, 1]],
    [2.02, [0, 0.5, 1, 1.5, 2, 2.5]],
    [870, [0, 200, 400, 600, 800, 1_000]],
  ])('have an axis up to %d', (largest, expected) => {
    expect(ticks(largest)).toEqual(expected)
  })
})
