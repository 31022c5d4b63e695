package logind_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/edged/shutdown/logind"
)

// Without a D-Bus there is no logind; on a machine with systemd, Dial finds it.
func ExampleDialBus() {
	_, err := logind.DialBus(context.Background(), "unix:path=/nonexistent/bus")
	fmt.Println(err != nil)
	// Output: true
}
