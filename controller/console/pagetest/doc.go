// Package pagetest tests the console's page in Chromium: every page at three widths, by keyboard
// alone, with axe-core, and with hostile texts. It has a server of its own, [Server], that answers
// the console's API from made-up nodes, so that it needs no cluster. It is a module of its own, so
// that nothing else has the library that drives the browser.
//
//	go test .                    what make test runs
//	SCREENSHOTS=1 go test .      writes ../screenshots too
//	NODES=100000 go test .       more nodes (1,000)
//
// To look at the page without a cluster: go run ./preview
package pagetest
