package devices

import (
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/device/v1beta1"
)

// Devices returns the store of all Devices, which Run fills. Another part of cloudcore follows
// its changes in place of a watch of its own.
func (c *Controller) Devices() *cache.Store[*v1beta1.Device] { return c.devices }

// Model returns the model of a device; nil if there is none. It is shared and must not be
// written to.
func (c *Controller) Model(device *v1beta1.Device) *v1beta1.DeviceModel {
	_, name := nodeAndModel(device)
	item, _ := c.models.Load(name)
	return item.Object
}
