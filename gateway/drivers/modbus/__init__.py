"""Modbus over TCP, RTU and RTU over TCP: from a tag list to planned blocks, values and qualities."""
