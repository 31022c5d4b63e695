package v1beta1_test

import (
	"encoding/json"
	"fmt"

	"github.com/edgekit/edgekit/device/dmi/v1beta1"
)

func ExampleAnyOf() {
	a, err := v1beta1.AnyOf(json.RawMessage(`502`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a.TypeURL)
	raw, err := v1beta1.ToJSON(a)
	fmt.Println(string(raw), err)
	// Output:
	// type.googleapis.com/google.protobuf.Int64Value
	// 502 <nil>
}
