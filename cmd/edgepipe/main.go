// Command edgepipe runs the Pipelines of a node. edgecore starts it while the node has one, and
// ends it; nobody else needs to. It is a program of its own because expressions, decoders and
// sinks cost memory as soon as they are linked: a node without Pipelines pays nothing for them.
//
// It reads from edgecore what to run, and reports to it, over a socket in the folder that
// --folder names (package bus/pipeline/host is the other end). It ends when edgecore does.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// exitUsage is the status for wrong arguments, as that of edgekit's other programs.
const exitUsage = 2

func main() {
	folder := flag.String("folder", "", "the folder that edgecore and edgepipe share: DATA-DIR/pipelines")
	version := flag.Bool("version", false, "print the version")
	flag.Parse()
	switch {
	case *version:
		fmt.Println(program.Version())
		return
	case !filepath.IsAbs(*folder) || flag.NArg() > 0:
		fmt.Fprintln(os.Stderr, "edgepipe: edgecore starts this program while the node has Pipelines. By hand: edgepipe --folder /var/lib/edgekit/pipelines")
		os.Exit(exitUsage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go endWithParent(cancel)
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := run(ctx, *folder, log); err != nil {
		log.Error("edgepipe ends", "err", err)
		os.Exit(1)
	}
}

// endAfter is how long edgepipe has to end in order once edgecore has ended.
const endAfter = 10 * time.Second

// endWithParent ends edgepipe when its standard input ends: edgecore holds the other end.
func endWithParent(cancel func()) {
	_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it
	cancel()
	time.Sleep(endAfter)
	os.Exit(1)
}
