// Package e2e builds a whole release, runs the commands of the README on it, and compares it with
// a second build.
package e2e
