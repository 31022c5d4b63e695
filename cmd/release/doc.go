// Command release builds everything that an operator installs, without a container engine:
// static programs, Debian, RPM and Alpine packages, images, the artefact that nodes upgrade
// to, checksums, signatures and lists of what is in each program.
//
//	release build    build all files of a version; --key and --cert sign them
//	release check    build twice, in two folders, and compare all bytes
//	release key      make a key and a certificate to sign with
//	release modfile  what "go build -modfile" needs for 32-bit machines
//
// "make release" and "make release-check" run it. README.md says what an operator does with
// the files. The same commit gives the same bytes with the same Go toolchain: all times
// in the files are that of the commit (SOURCE_DATE_EPOCH overrides it), and only signatures differ.
package main
