import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { Program, plainEnvironment, run } from '../support/cli.js'
import { requireProgram } from '../support/programs.js'
import { connectRequest, GREETING_NO_AUTH, RawClient } from '../support/raw-client.js'
import { cleanup } from '../support/servers.js'
import { startEcho } from '../support/targets.js'

const SCRIPT = fileURLToPath(new URL('../../scripts/start.mjs', import.meta.url))

describe('the line to try', () => {
  requireProgram('curl', 'curl')

  it('fetches the page, and SIGTERM ends both', async () => {
    const { program, line } = await start()
    const page = await run('sh', ['-c', line], { env: plainEnvironment() })
    expect(page).toMatchObject({ code: 0 })
    expect(page.stdout.toString()).toMatch(/^Hello through SOCKS5/)
    program.kill('SIGTERM')
    expect(await program.finished).toMatchObject({ code: 0, signal: null, stderr: '' })
  })
})

describe('npm start', () => {
  it('takes one Ctrl-C, which reaches it from the terminal and once more from npm, as one signal', async () => {
    const { program, port } = await start()
    const { tunnel, idle } = await clients(port)
    // The terminal signals the whole group, then npm signals its child. Signals that are pending merge into one, hence
    // several, spread over some turns.
    program.killGroup('SIGINT')
    for (let again = 0; again < 5; again++) {
      await setImmediate()
      program.kill('SIGINT')
    }
    await idle.readToEnd()
    tunnel.write('68 69')
    expect(await tunnel.read(2)).toBe('6869')
    tunnel.end()
    expect((await tunnel.readToEnd()).length).toBe(0)
    expect(await program.finished).toMatchObject({ code: 0, signal: null })
  })

  it('ends at once when it is asked a second time', async () => {
    const { program, port } = await start()
    const { tunnel, idle } = await clients(port)
    program.kill('SIGTERM')
    await idle.readToEnd()
    const impatient = setInterval(() => program.kill('SIGTERM'), 50)
    cleanup(() => clearInterval(impatient))
    await tunnel.readToEnd()
    expect(await program.finished).toMatchObject({ code: 0, signal: null })
    // When the grace is over, the tunnel's end is told of; here it was not waited for.
    expect(program.stderr).not.toContain(' -> ')
  })

  it('leaves no server behind when it is killed', async () => {
    const { program, port } = await start()
    const { idle, tunnel } = await clients(port)
    program.kill('SIGKILL')
    await idle.readToEnd()
    tunnel.end()
    // Its output closes with the last process that holds it.
    expect(await program.finished).toMatchObject({ signal: 'SIGKILL' })
  })

  it('ends with the exit code of the server', async () => {
    const program = new Program(process.execPath, [SCRIPT, '--listen', 'nowhere'])
    expect(await program.finished).toMatchObject({ code: 2 })
  })
})

async function start(): Promise<{ program: Program; port: number; line: string }> {
  const program = new Program(process.execPath, [SCRIPT, '--listen', '127.0.0.1:0'], { ownGroup: true })
  const [, port] = await program.output(/listening on socks5:\/\/127\.0\.0\.1:(\d+)\n/)
  const [, line = ''] = await program.output(/^try: (curl .*)\n/m)
  return { program, port: Number(port), line }
}

/** A client with a tunnel to an echo, and one that has asked for nothing yet: the first that a server about to stop drops. */
async function clients(port: number): Promise<{ tunnel: RawClient; idle: RawClient }> {
  const echo = await startEcho()
  cleanup(() => echo.close())
  const [tunnel, idle] = await Promise.all([RawClient.connect(port), RawClient.connect(port)])
  for (const { stream } of [tunnel, idle]) cleanup(() => stream.destroy())
  tunnel.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port)]))
  expect((await tunnel.read(12)).slice(0, 8)).toBe('05000500')
  idle.write(GREETING_NO_AUTH)
  expect(await idle.read(2)).toBe('0500')
  return { tunnel, idle }
}
