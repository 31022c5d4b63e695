package shutdown_test

import (
	"fmt"
	"time"

	"github.com/edgekit/edgekit/edged/shutdown"
)

func Example() {
	for _, p := range shutdown.Periods(30*time.Second, 10*time.Second) {
		fmt.Println("pods from priority", p.Priority, "on have", p.Grace)
	}
	// Output:
	// pods from priority 0 on have 20s
	// pods from priority 2000000000 on have 10s
}
