// Package podtest makes pods for tests of pure code, in one line each.
package podtest
