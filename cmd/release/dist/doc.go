// Package dist makes all files of a release in one folder, and checks that a second build
// gives the same bytes.
package dist
