import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { beforeEach } from 'vitest'

/**
 * Names a program that the tests of the surrounding `describe` run. Where it is missing they are skipped and say so;
 * with `CI=true` they fail, because a continuous build that skips them proves nothing.
 */
export function requireProgram(program: string, debianPackage: string): string {
  const missing = findProgram(program) === undefined
  const advice = missingProgram(program, debianPackage)
  if (missing && !isCI()) console.warn(`skipped: ${advice}`)
  beforeEach((context) => {
    if (!missing) return
    if (isCI()) throw new Error(advice)
    context.skip(advice)
  })
  return program
}

/** What to do about a missing program. */
export function missingProgram(program: string, debianPackage: string): string {
  return `${program} is not in PATH: install the Debian package ${debianPackage}`
}

/** Path of a program, `undefined` where PATH has none of that name. */
export function findProgram(program: string, path: string = process.env.PATH ?? ''): string | undefined {
  return path
    .split(delimiter)
    .filter((directory) => directory !== '')
    .map((directory) => join(directory, program))
    .find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function isCI(): boolean {
  return process.env.CI === 'true'
}
