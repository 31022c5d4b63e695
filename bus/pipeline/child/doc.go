// Package child runs one program beside this one, for as long as it is wanted: edgecore's
// edgepipe, which runs the pipelines of a node.
//
//	c, err := child.New(child.Config{Program: "/usr/bin/edgepipe", Args: []string{"run", "--data-dir", dir}})
//	err = c.Run(ctx) // until ctx ends
//
// It is the only package of bus that starts a program. The path and the arguments are those of
// Config, no shell sees them, and nothing that came over the network may be in them. The
// environment is fixed: Config.Env, and of this program's own only what says where proxies,
// authorities and time zones are.
//
// # Restarts
//
// A program that ends is started again after a pause, which doubles from Config.MinPause to
// Config.MaxPause, and is short again after a minute's life. One that is missing is looked for
// as often. State says what happens, with the remedy.
//
// # Its end
//
// When ctx ends, the program gets SIGTERM, and is killed if it has not ended after
// Config.StopAfter. It never outlives this program: its standard input ends when this program
// does, and on Linux the kernel kills it then. The kernel also ends it sooner than this program
// when the machine is out of memory.
//
// # Its log
//
// What it writes goes to Config.Logger line by line. Lines of slog's JSON keep their level and
// attributes. Lines are cut at 8 KiB, and of more than 100 in a second the others are counted
// and dropped.
//
// # Concurrency
//
// All methods may be called by several goroutines at once. Run may be called once.
package child
