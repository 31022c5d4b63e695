package tour

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"
)

//go:embed device.yaml
var deviceYAML string

// device makes a thermometer with a target, and waits for the mapper's report.
func (t *Tour) device(ctx context.Context) (string, error) {
	if err := t.site.Kube().Apply(ctx, deviceYAML); err != nil {
		return "", err
	}
	if err := t.site.StartMapper(ctx, Node); err != nil {
		return "", err
	}
	began := time.Now()
	status, err := t.waitReported(ctx, "target", "21")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("target 21 was applied and reported %s later; temperature is %s, the device is %s",
		round(began), status.reported("temperature"), status.Status.State), nil
}

// deviceStatus is what the tour reads of a DeviceStatus.
type deviceStatus struct {
	Status struct {
		State string `json:"state"`
		Twins []struct {
			PropertyName string `json:"propertyName"`
			Reported     struct {
				Value string `json:"value"`
			} `json:"reported"`
		} `json:"twins"`
	} `json:"status"`
}

func (s deviceStatus) reported(property string) string {
	for _, twin := range s.Status.Twins {
		if twin.PropertyName == property {
			return twin.Reported.Value
		}
	}
	return ""
}

// waitReported waits until DeviceStatus shows a number for the property.
func (t *Tour) waitReported(ctx context.Context, property, want string) (deviceStatus, error) {
	var status deviceStatus
	err := eventually(ctx, func(ctx context.Context) error {
		status = deviceStatus{}
		if err := t.site.Kube().Get(ctx, &status, "devicestatus", Device, "-n", Namespace); err != nil {
			return err
		}
		if got := status.reported(property); !sameNumber(got, want) {
			return fmt.Errorf("DeviceStatus %s/%s reports %s %q, want %s", Namespace, Device, property, got, want)
		}
		return nil
	})
	return status, err
}

// desire sets the target as a user does.
func (t *Tour) desire(ctx context.Context, target string) error {
	patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/properties/1/desired/value","value":%q}]`, target)
	_, err := t.site.Kube().Run(ctx, "", "patch", "device", Device, "-n", Namespace, "--type=json", "-p", patch)
	return err
}

// sameNumber compares values as numbers: a mapper may report 21 as 21.0.
func sameNumber(a, b string) bool {
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err1 == nil && err2 == nil && x == y
}
