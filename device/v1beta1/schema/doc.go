// Package schema has the plain Go types of the Device, DeviceModel and
// DeviceStatus resources: what stands below spec and status in their YAML. They
// need no Kubernetes, so a driver and a gateway without a cluster use the same
// types. Package device/v1beta1 makes API objects of them.
//
//	spec := schema.DeviceSpec{
//		Protocol:   schema.Protocol{Name: "modbus", Config: options},
//		Properties: []schema.Property{{Name: "target", Desired: &schema.Value{Value: "45"}}},
//	}
//
// The types are values; nobody changes one that others read. Their JSON is that
// of the API objects.
package schema
