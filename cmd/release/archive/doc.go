// Package archive writes tar files that are the same for the same input: times, owners and order
// are given, never taken from the file system.
package archive
