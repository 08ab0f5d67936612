"""The items of the `demo` data: ten steps of each routine, and noise items that belong to no routine."""

from __future__ import annotations

_ROUTINES = """
coffee: coffee beans, coffee grinder, coffee scale, gooseneck kettle, paper filter, dripper, carafe, milk frother, \
espresso cup, descaler
tea: loose leaf tea, tea tin, tea infuser, electric kettle, teapot, tea cosy, tea cup, honey jar, tea tray, tea towel
bread: bread flour, dry yeast, kitchen scale, mixing bowl, dough scraper, proofing basket, scoring blade, baking \
stone, cooling rack, bread box
pasta: semolina, eggs, pasta machine, pasta drying rack, stock pot, colander, tomato passata, cheese grater, pasta \
bowl, parmesan
barbecue: charcoal, chimney starter, fire lighter, grill grate, grill tongs, meat thermometer, marinade brush, \
serving board, steak knife, grill brush
sushi: sushi rice, rice cooker, rice vinegar, nori sheets, bamboo mat, sashimi knife, soy sauce, wasabi, chopsticks, \
sushi plate
camping: tent, ground sheet, tent pegs, sleeping pad, sleeping bag, camp pillow, head lamp, camp stove, gas \
cartridge, mess kit
hiking: trail map, hiking boots, merino socks, day pack, trekking poles, water bladder, energy bar, rain shell, \
compass, blister plaster
cycling: road bike, bike helmet, cycling shoes, clip pedals, bib shorts, bottle cage, bike computer, mini pump, inner \
tube, chain oil
running: running shoes, running socks, running shorts, running watch, heart rate strap, running belt, energy gel, \
race bib holder, foam roller, recovery sandals
swimming: swimsuit, swim cap, swim goggles, anti-fog spray, kickboard, pull buoy, swim fins, microfibre towel, ear \
plugs, chlorine shampoo
yoga: yoga mat, yoga mat spray, yoga block, yoga strap, bolster, meditation cushion, incense, singing bowl, yoga \
socks, yoga bag
climbing: climbing shoes, chalk bag, chalk, climbing harness, belay device, locking carabiner, climbing rope, \
quickdraws, finger tape, hand balm
skiing: base layer, ski socks, ski boots, skis, ski poles, ski helmet, ski goggles, ski gloves, ski wax, boot dryer
fishing: fishing rod, reel, fishing line, hooks, sinkers, lures, landing net, fish scale, fillet knife, cool box
painting: easel, stretched canvas, gesso, charcoal pencil, acrylic paint, palette, brush set, palette knife, varnish, \
picture frame
knitting: wool yarn, yarn bowl, knitting needles, stitch marker, row counter, cable needle, tape measure, darning \
needle, blocking mat, wool wash
sewing: sewing pattern, cotton fabric, fabric scissors, dressmaker pins, sewing thread, bobbins, sewing machine, seam \
ripper, buttons, steam iron
woodwork: oak board, marking gauge, hand saw, bench plane, chisel set, wood glue, bar clamps, sandpaper, wood oil, \
polishing cloth
gardening: seed packets, seed tray, potting soil, plant labels, grow light, trowel, watering can, plant stakes, \
garden shears, compost bin
photography: camera body, prime lens, lens filter, memory card, tripod, remote shutter, lens cloth, card reader, \
photo paper, photo album
astronomy: star chart, red flashlight, telescope, telescope mount, finder scope, eyepiece, barlow lens, moon filter, \
dew heater, observing log
guitar: acoustic guitar, guitar strings, string winder, clip-on tuner, capo, plectrum set, guitar strap, music stand, \
chord book, guitar case
piano: digital piano, piano bench, sustain pedal, studio headphones, metronome, sheet music, page clip, piano lamp, \
finger trainer, dust cover
podcast: microphone, pop filter, boom arm, audio interface, xlr cable, monitor speakers, acoustic foam, stream deck, \
ring light, webcam
aquarium: fish tank, aquarium gravel, water conditioner, aquarium filter, aquarium heater, water plants, test strips, \
neon tetras, fish food, algae scraper
puppy: puppy crate, puppy bed, puppy food, feeding bowl, collar, leash, training treats, chew toy, poop bags, dog \
shampoo
newborn: cot, cot mattress, swaddle, nappies, baby wipes, changing mat, baby bottle, bottle steriliser, baby monitor, \
mobile
shaving: pre-shave oil, shaving brush, shaving soap, shaving bowl, safety razor, razor blades, alum block, aftershave \
balm, razor stand, blade bank
tabletop: board game, card sleeves, dice tray, dice set, score pad, game timer, player mat, miniatures, miniature \
paint, game shelf
"""

_NOISE = """\
gift card, AA batteries, phone charger, tote bag, umbrella, sticky notes, ballpoint pens, hand soap, paper towels, \
light bulb, extension lead, packing tape, water bottle, lip balm, sunglasses, tissues, toothpaste, key ring, desk \
calendar, phone case, wall hooks, bin liners, dish sponge, scented candle, greeting card, lint roller, shower gel, \
hair ties, notebook, coat hangers, ice cube tray, door mat, chewing gum, screen wipes, usb stick, travel mug, laundry \
basket, safety pins, nail clipper, puzzle magazine"""

ROUTINES: dict[str, list[str]] = {
    routine: steps.split(", ") for routine, steps in (line.split(": ") for line in _ROUTINES.strip().splitlines())
}
"""Ten steps in order, by routine; the first step follows the last."""

NOISE_TITLES: list[str] = _NOISE.split(", ")
"""From the most popular to the least."""
