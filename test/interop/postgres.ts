import { chownSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { Program, plainEnvironment, run } from '../support/cli.js'
import { findProgram } from '../support/programs.js'
import { cleanup } from '../support/servers.js'
import { refusedPort } from '../support/targets.js'

// Debian keeps the programs of each version apart, and out of PATH.
const VERSIONS = '/usr/lib/postgresql'

/** A PostgreSQL server of its own on loopback until the test is over. `user` may do everything, without a password. */
export async function startPostgres(user: string): Promise<{ readonly port: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'tubesock-postgres-'))
  cleanup(() => rmSync(folder, { recursive: true, force: true }))
  const data = join(folder, 'data')
  const env = { ...plainEnvironment(), LC_ALL: 'C' }
  const asOwner = await owner(folder)
  const [command = '', ...rest] = [...asOwner, program('initdb')]
  const made = await run(command, [...rest, '-D', data, '-U', user, '-A', 'trust', '--no-sync'], { env, cwd: folder })
  expect(made.code, made.stderr).toBe(0)

  const port = await refusedPort()
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'fsync=off'].flatMap((text) => [
    '-c',
    text,
  ])
  const [server = '', ...values] = [...asOwner, program('postgres'), '-D', data, '-p', String(port), ...settings]
  const running = new Program(server, values, { env, cwd: folder })
  await running.output(/ready to accept connections/, 'stderr')
  cleanup(async () => {
    // "Fast": without waiting for clients. Killed, it would leave its workers to find out.
    running.kill('SIGINT')
    await running.finished
  })
  return { port }
}

/** How to run as the system's user `postgres`, who gets the folder: as root it refuses. Nothing for anybody else. */
async function owner(folder: string): Promise<readonly string[]> {
  if (process.getuid?.() !== 0) return []
  const ids = await Promise.all(['-u', '-g'].map((flag) => run('id', [flag, 'postgres'])))
  const [uid = 0, gid = 0] = ids.map(({ stdout }) => Number(String(stdout)))
  chownSync(folder, uid, gid)
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups']
}

function program(name: string): string {
  const path = readdirSync(VERSIONS).map((version) => join(VERSIONS, version, 'bin'))
  const found = findProgram(name, path.join(':'))
  if (found === undefined) throw new Error(`${name} is not in ${VERSIONS}: install the Debian package postgresql`)
  return found
}
