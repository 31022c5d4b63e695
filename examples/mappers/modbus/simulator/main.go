// Command simulator is a Modbus TCP device in memory, to try the mapper with. Its registers
// are zero at first and can be written. A restart forgets them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/edgekit/edgekit/examples/mappers/modbus/internal/simulator"
)

func main() {
	address := flag.String("listen", "127.0.0.1:5020", "address to listen at")
	items := flag.Int("items", 1000, "items of each table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := simulator.New(*items).Serve(ctx, *address, func() { fmt.Println("listening at", *address) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulator:", err)
		os.Exit(1)
	}
}
