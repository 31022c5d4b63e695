//go:build !unix

package main

import "os"

var resized []os.Signal
