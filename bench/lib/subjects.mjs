// @ts-check
// The servers that can be compared, and where those that are not this package come from.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What the benches need from npm is installed here, and nowhere else. */
export const PACKAGES = fileURLToPath(new URL('../packages', import.meta.url))

/** How to have them. */
export const INSTALL = 'npm install --prefix bench/packages --ignore-scripts --no-package-lock'

/** `package`: what it is in npm. `speaksSocks: false`: clients talk to the target at once. */
export const SUBJECTS = /** @type {const} */ ({
  tubesock: { package: undefined, speaksSocks: true },
  plain: { package: undefined, speaksSocks: true },
  floor: { package: undefined, speaksSocks: false },
  socksv5: { package: 'socksv5', speaksSocks: true },
  pondwader: { package: '@pondwader/socks5-server', speaksSocks: true },
})

/** @typedef {keyof typeof SUBJECTS} Subject */

/** @param {string} name @returns {name is Subject} */
export function isSubject(name) {
  return Object.hasOwn(SUBJECTS, name)
}

/** The version of an npm package that is installed there, else `undefined`. @param {string} name @param {string} packages */
export function installedVersion(name, packages) {
  const manifest = join(packages, 'node_modules', name, 'package.json')
  return existsSync(manifest) ? String(JSON.parse(readFileSync(manifest, 'utf8')).version) : undefined
}

/** What a server is called in a report: with its version, where it is a package. @param {Subject} subject @param {string} packages */
export function label(subject, packages) {
  if (subject === 'floor') return 'bare relay'
  if (subject === 'plain') return 'tubesock, fastRelay: false'
  const { package: name } = SUBJECTS[subject]
  return name === undefined ? subject : `${name} ${installedVersion(name, packages) ?? ''}`.trim()
}

/** Splits off those whose package is not there. @param {readonly Subject[]} subjects @param {string} packages */
export function present(subjects, packages) {
  /** @param {Subject} subject */
  const isMissing = (subject) => {
    const { package: name } = SUBJECTS[subject]
    return name !== undefined && installedVersion(name, packages) === undefined
  }
  return { here: subjects.filter((subject) => !isMissing(subject)), missing: subjects.filter(isMissing) }
}
