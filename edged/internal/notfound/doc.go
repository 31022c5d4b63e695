// Package notfound recognizes the errors of an embedder for an object that does
// not exist. Such an error has a method NotFound() bool that reports true, so that
// an implementation need not import edged.
package notfound
