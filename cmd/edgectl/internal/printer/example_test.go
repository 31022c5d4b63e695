package printer_test

import (
	"os"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
)

func Example() {
	t := printer.Table{Columns: []printer.Column{{Name: "NAME"}, {Name: "STATE"}}}
	t.Rows = append(t.Rows, printer.Row{Name: "node/edge-1", Cells: []any{"edge-1", "connected"}})
	_ = printer.Flags{Output: printer.FormatTable}.Print(os.Stdout, t, nil)
	_ = printer.Flags{Output: printer.FormatName}.Print(os.Stdout, t, nil)
	// Output:
	// NAME     STATE
	// edge-1   connected
	// node/edge-1
}
