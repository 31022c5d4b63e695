// Command build builds Prometheus and promtool for the tests of this module into the user's cache,
// unless they are there.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/edgekit/edgekit/cmd/cluster/gobuild"
	"github.com/edgekit/edgekit/controller/install/monitoring/alertstest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, name := range alertstest.Names() {
		target, err := alertstest.Target(".", name)
		if err == nil {
			err = gobuild.Build(ctx, os.Stdout, target)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1) //nolint:forbidigo // this is a program, which is not in cmd
		}
	}
}
