"""Every task said in seven ways: five levels of detail, and twice in other words. What the wording experiment routes.

Written from the tasks' names and classes before any of them was routed, without a look at photos or captions. Levels: one
word; two to four words; a plain sentence; a sentence with details; a long one that tells all that one would expect to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Phrasing:
    """One task's texts: ``levels`` from one word to a detailed sentence, ``others`` of about the length of a description."""

    levels: tuple[str, str, str, str, str]
    others: tuple[str, str]


LEVELS = ("1 one word", "2 a few words", "3 a plain sentence", "4 with details", "5 detailed")

# About photos of anything, and about no photos at all; none of them was used to calibrate the confidence.
VAGUE = (
    "photos",
    "some nice pictures",
    "things I saw",
    "various images from my collection",
    "stuff",
    "pictures of different things in different places",
)
RANDOM = (
    "quarterly financial report",
    "the sound of a violin",
    "a mathematical proof",
    "tax law in the nineteenth century",
    "firmware update instructions",
    "the meaning of a proverb",
)

PHRASINGS: Mapping[str, Phrasing] = {
    "dog": Phrasing(
        (
            "dog",
            "a dog outdoors",
            "these photos show dogs outside",
            "dogs that run over grass or sand, some with a toy or stick in the mouth",
            "pictures of dogs of many breeds, brown, black and white ones, running, jumping, swimming or playing with "
            "each other in gardens, parks, on beaches and in the snow",
        ),
        ("our four-legged friends at play", "canine pets photographed from near"),
    ),
    "snow": Phrasing(
        (
            "snow",
            "people in snow",
            "these photos were taken in snow",
            "people in thick winter clothes who walk, sledge or play on snow-covered ground",
            "winter pictures with snow on the ground and on trees, children with sledges, dogs that dig, walkers in "
            "jackets and woollen hats, and mountains white all over in the background",
        ),
        ("a cold winter's day, everything white", "folks outside after a blizzard"),
    ),
    "beach": Phrasing(
        (
            "beach",
            "on the beach",
            "people spend a day by the sea",
            "children and dogs on wet sand in front of small waves under a wide sky",
            "holiday pictures from the coast with people in swimsuits who walk along the waterline, build castles of "
            "sand, throw balls and run into the waves, and dogs splashing along",
        ),
        ("sand, sea and sunshine", "a seaside holiday with the family"),
    ),
    "bicycle": Phrasing(
        (
            "bicycles",
            "people riding bikes",
            "these photos show people who cycle",
            "cyclists with helmets on mountain bikes who ride over trails, ramps and roads",
            "pictures of people on bicycles of all kinds, racers in tight jerseys bent over their handlebars, mountain "
            "bikers in the air over a dirt jump, and children who ride down the street with a helmet on",
        ),
        ("pedalling on two wheels", "a biker doing tricks"),
    ),
    "soccer": Phrasing(
        (
            "soccer",
            "a soccer match",
            "these photos show people at soccer",
            "players of two teams in coloured shirts who fight for the ball on a green pitch",
            "pictures of soccer games of children and grown-ups, players in red, blue and white shirts and shin guards "
            "who dribble, kick and head the ball on a lawn while others watch from the side",
        ),
        ("kicking a ball towards the goal", "two teams with eleven players on a green pitch"),
    ),
    "football": Phrasing(
        (
            "football",
            "American football players",
            "these photos show American football",
            "players in helmets and padded uniforms who run with the ball and tackle each other",
            "pictures from American football games in which players with helmets, face guards and shoulder pads line up, "
            "throw, catch, run with the brown ball and bring each other down on the field of a stadium",
        ),
        ("a quarterback and his team mates", "college sports with helmets and touchdowns"),
    ),
    "baseball": Phrasing(
        (
            "baseball",
            "a baseball game",
            "these photos show baseball games",
            "a batter who swings at the ball while the catcher and the umpire crouch behind",
            "pictures of baseball players in striped uniforms and caps, a pitcher who throws from the mound, a batter "
            "with a helmet, a catcher with a mask, and a runner who slides into the base in a cloud of dust",
        ),
        ("a pitcher on the mound", "swinging the bat at home plate"),
    ),
    "basketball": Phrasing(
        (
            "basketball",
            "a basketball game",
            "these photos show people at basketball",
            "tall players in jerseys who jump for the ball under the hoop of an indoor court",
            "pictures of basketball games in a gym or in the yard, players in white and dark jerseys who dribble, block, "
            "pass and throw the orange ball into the basket with the crowd behind them",
        ),
        ("shooting hoops", "a dunk in the arena"),
    ),
    "tennis": Phrasing(
        (
            "tennis",
            "a tennis match",
            "these photos show people at tennis",
            "a player in white who swings a racket at a yellow ball on the court",
            "pictures of tennis players in white or coloured sports clothes and headbands who serve, stretch for a "
            "backhand or run up to the net of a green or blue court in front of spectators",
        ),
        ("hitting a serve over the net", "an athlete holding a racket"),
    ),
    "climbing": Phrasing(
        (
            "climbing",
            "a rock climber",
            "these photos show people who climb",
            "climbers with helmets and ropes on a steep wall of rock high above the ground",
            "pictures of climbers with harness, chalk bag and rope who cling to cliffs of grey and red rock, reach for "
            "the next hold, hang below an overhang or stand on top with a valley far below",
        ),
        ("scaling a steep cliff", "mountaineers hanging from a crag"),
    ),
    "boat": Phrasing(
        (
            "boats",
            "a boat on water",
            "these photos show boats on water",
            "people in canoes, rafts and sailing boats on rivers, lakes and the sea",
            "pictures of boats of all kinds, kayaks and rubber rafts in white water, canoes on calm lakes, sailing boats "
            "off the coast and fishing boats moored in a harbour, with people in life vests who paddle",
        ),
        ("paddling a kayak", "vessels in a harbour"),
    ),
    "baby": Phrasing(
        (
            "baby",
            "a small baby",
            "these photos show small children",
            "babies and toddlers who crawl, laugh or sit in a high chair with food on their face",
            "family pictures of babies and toddlers, in a cot, on a blanket, in the bath or in the arms of their parents, "
            "who smile at the lens, chew on toys and take their first steps",
        ),
        ("our newborn infant", "a little one in the arms of mum and dad"),
    ),
    "street": Phrasing(
        (
            "street",
            "a busy street",
            "these photos were taken in city streets",
            "people who walk along the pavement past shops, parked cars and tall houses",
            "pictures of city life with people who cross the road, wait at traffic lights, sit on steps, carry bags along "
            "the pavement and pass shop windows, parked cars, buses and street vendors",
        ),
        ("downtown pedestrians and traffic", "urban life on the pavement"),
    ),
    "horse": Phrasing(
        (
            "horses",
            "people riding horses",
            "these photos show horses and riders",
            "riders with hats or helmets on brown and white horses in a field or arena",
            "pictures of horses with and without riders, cowboys at a rodeo on a bucking bronco, jockeys in a race, girls "
            "who jump over a fence, and horses that gallop over a meadow",
        ),
        ("a cowboy in the saddle", "equestrian sports"),
    ),
    "pool": Phrasing(
        (
            "pool",
            "a swimming pool",
            "children play in a swimming pool",
            "children with goggles and swim rings who jump and splash in the blue water of a pool",
            "summer pictures of children and their parents at a swimming pool who jump from the edge, go down water "
            "slides, float on rings and splash one another with clear blue water in bright sunshine",
        ),
        ("splashing about in the paddling pool", "a backyard full of kids in swimsuits and blue water"),
    ),
    "swimming": Phrasing(
        (
            "swimming",
            "a swimmer underwater",
            "these photos show people who swim",
            "swimmers with caps and goggles who race in lanes or dive under water",
            "pictures of people and dogs in the water, swimmers with goggles and caps who breathe between two strokes, "
            "children under water with bubbles around them, and divers who glide through the blue",
        ),
        ("doing the front crawl", "a bather in the lake"),
    ),
    "skateboard": Phrasing(
        (
            "skateboarding",
            "a skateboard trick",
            "these photos show people on skateboards",
            "young men who jump with their skateboards over steps, rails and ramps of a park",
            "pictures of skateboarders in loose clothes, caps and sneakers who grind along rails, roll through concrete "
            "bowls, drop into a half-pipe or fly over a flight of steps with the board below their feet",
        ),
        ("grinding a rail at the skate park", "teenagers doing an ollie"),
    ),
    "motorcycle": Phrasing(
        (
            "motorcycles",
            "a motorcycle rider",
            "these photos show people on motorcycles",
            "riders in leather or motocross gear who lean into a bend or fly over a jump",
            "pictures of motorcycles and their riders, dirt bikes that throw up mud and sand on a hilly track, racing "
            "machines deep in a bend, quad bikes in the woods, and choppers parked by the road",
        ),
        ("motocross racing on a muddy track", "a rider on his Harley"),
    ),
    "car": Phrasing(
        (
            "cars",
            "a parked car",
            "these photos show cars and trucks",
            "cars, taxis and trucks parked on a street or racing over a track in the dust",
            "pictures with cars in them, red racing cars on a track, jeeps in mud and water, old-timers at a show, taxis "
            "and vans in the traffic of a city, and people who lean on the bonnet or look out of the window",
        ),
        ("automobiles and lorries", "someone at the wheel of a vehicle"),
    ),
    "playground": Phrasing(
        (
            "playground",
            "kids on a playground",
            "these photos were taken on playgrounds",
            "children who come down a slide and climb on frames and nets of a playground",
            "pictures of small children on a playground with slides, tunnels, ladders and climbing frames in bright "
            "colours, who slide down head first, hang from bars and play in the sand while their parents watch",
        ),
        ("a slide and a climbing frame", "little ones having fun on the jungle gym"),
    ),
    "swing": Phrasing(
        (
            "swings",
            "child on a swing",
            "these photos show children who swing",
            "a laughing girl who holds the chains of a swing and flies high into the air",
            "pictures of children who sit, stand or lie on swings in gardens and playgrounds, pushed by their parents, "
            "hair in the wind and feet stretched out, in tyres, baby seats and hammocks between trees",
        ),
        ("being pushed higher and higher by dad", "to and fro on a seat that hangs from chains"),
    ),
    "fountain": Phrasing(
        (
            "fountain",
            "children at a fountain",
            "children get wet in a fountain",
            "children in wet clothes who run through jets of water that shoot up from the ground",
            "pictures from hot summer days with children in swimsuits and wet clothes who run through the jets of a "
            "fountain in a square, catch the water with their hands, and scream with joy under a sprinkler",
        ),
        ("cooling off under a sprinkler", "jets of water on a town square"),
    ),
    "music": Phrasing(
        (
            "music",
            "a band on stage",
            "these photos show people who make music",
            "a band with guitars, drums and a singer at the microphone in the light of a stage",
            "pictures of musicians, a rock band with electric guitars and drums in coloured light, a singer with closed "
            "eyes at the microphone, buskers with violin and accordion, and a marching band with trumpets",
        ),
        ("a live concert", "guitarists and drummers performing"),
    ),
    "crowd": Phrasing(
        (
            "crowd",
            "many people together",
            "these photos show crowds of people",
            "a large crowd of people who watch a parade, a concert or a match in a stadium",
            "pictures of many people in one place, the audience of a concert with raised hands, spectators behind a "
            "fence, a parade with flags and balloons along a full street, and a demonstration with signs",
        ),
        ("hundreds of spectators", "a packed public event"),
    ),
    "food": Phrasing(
        (
            "eating",
            "people eating",
            "these photos show people at their meals",
            "people around a table who eat, cook and drink, and a child with cake all over the face",
            "pictures of people with food, friends around a table in a restaurant, a cook at the stove, children with ice "
            "cream and birthday cake, a man who bites into a sandwich, and a stand that sells snacks",
        ),
        ("having lunch together", "guests enjoying dinner and dessert"),
    ),
    "surfing": Phrasing(
        (
            "surfing",
            "a surfer",
            "these photos show people who surf",
            "surfers in black wetsuits who ride down the face of a breaking wave",
            "pictures of surfers in wetsuits or shorts who crouch on their boards in the tube of a wave, turn in the "
            "white water, paddle out from the beach or fall off in a spray of foam",
        ),
        ("riding the breakers on a board", "wave riders in wetsuits"),
    ),
    "mountain": Phrasing(
        (
            "mountains",
            "hikers in mountains",
            "these photos were taken in mountains",
            "hikers with rucksacks on a rocky path with peaks and snow fields behind them",
            "pictures from tours in the mountains with hikers who carry rucksacks and poles along a ridge, rest on a "
            "rock, look down into a valley with a lake, or stand on a summit above the clouds",
        ),
        ("trekking in the Alps", "a backpacker on a summit trail"),
    ),
    "ski": Phrasing(
        (
            "skiing",
            "skiers in snow",
            "these photos show people who ski",
            "skiers with goggles and poles who race down a steep slope in a cloud of snow",
            "pictures of people on skis with helmets, goggles and bright jackets who carve down slopes, jump over a ramp, "
            "wait at the lift, or walk through deep snow between fir trees with a rucksack",
        ),
        ("winter sports with two poles", "going downhill on the slope"),
    ),
    "snowboard": Phrasing(
        (
            "snowboarding",
            "a snowboard jump",
            "these photos show people on snowboards",
            "snowboarders in wide jackets who jump from a ramp or slide along a rail",
            "pictures of snowboarders with goggles and woollen hats high in the air above a snowy slope, one hand on the "
            "board, on a rail or a half-pipe, or sitting in the snow to rest",
        ),
        ("a rider flying off a kicker in winter", "freestyle on a board in powder"),
    ),
    "race": Phrasing(
        (
            "race",
            "a race",
            "these photos show people in races",
            "runners, cyclists and cars with numbers that compete on a track before spectators",
            "pictures from races of all kinds, runners with numbers on their shirts, cyclists close together in a bend, "
            "motorcycles and cars on a track, greyhounds and horses on sand, and spectators along the course",
        ),
        ("competitors heading for the finish line", "who will be the fastest"),
    ),
    "river": Phrasing(
        (
            "river",
            "by the water",
            "these photos were taken at rivers and lakes",
            "people who fish, wade or jump into a stream or lake with trees on its banks",
            "pictures of rivers, lakes and waterfalls, anglers on the shore, children who throw stones or jump from a "
            "pier, dogs that shake themselves dry, and rafters in the rapids between rocks",
        ),
        ("a brook, a pond and a waterfall", "on the banks of a stream"),
    ),
    "forest": Phrasing(
        (
            "forest",
            "in the woods",
            "these photos were taken in a forest",
            "people and dogs on a path between tall trees with leaves on the ground",
            "pictures from the forest with walkers on narrow paths between tall trunks, children who climb over fallen "
            "trees, cyclists on roots and moss, and dogs that run through leaves in the autumn light",
        ),
        ("a walk among tall trees", "woodland with a narrow path"),
    ),
    "ball": Phrasing(
        (
            "ball",
            "playing with balls",
            "these photos show people with a ball",
            "children and dogs that throw, catch and run after balls on grass",
            "pictures with a ball in them, dogs with a tennis ball in the mouth, children who kick a red ball over the "
            "lawn, players who catch, throw and hit balls in matches, and volleyball on the beach",
        ),
        ("throw and catch", "kicking something round across the lawn"),
    ),
    "frisbee": Phrasing(
        (
            "frisbee",
            "catching a frisbee",
            "these photos show a frisbee in play",
            "a dog that leaps off the grass to catch a flying disc with its mouth",
            "pictures of dogs and people who play with a frisbee on lawns and beaches, a collie high in the air with the "
            "disc between its teeth, and young men who stretch and jump to catch it",
        ),
        ("a flying disc", "ultimate players on the lawn"),
    ),
    "jump": Phrasing(
        (
            "jumping",
            "somebody jumps",
            "these photos show people in mid-air",
            "children, dogs and sportsmen who leap high into the air with arms stretched out",
            "pictures of people and animals caught in mid-air, a boy who jumps from a wall into water, girls on a "
            "trampoline, a dog over a hurdle, a skateboarder above steps, and friends who leap on the beach",
        ),
        ("leaping off the ground", "both feet up in the air"),
    ),
    "dance": Phrasing(
        (
            "dancing",
            "people dancing",
            "these photos show people who dance",
            "dancers in costumes who spin and lift each other on a stage or at a party",
            "pictures of people who dance, ballet dancers on a stage, couples at a wedding, breakdancers on their hands "
            "in front of a crowd, folk dancers in bright skirts, and girls with pompons on a field",
        ),
        ("a ballet performance", "couples whirling to the beat"),
    ),
    "costume": Phrasing(
        (
            "costumes",
            "people in costumes",
            "these photos show people who dress up",
            "people in masks, wigs and painted faces at a carnival or a fancy dress party",
            "pictures of people in disguise, children as pirates, princesses and animals, men in wigs and dresses, a "
            "clown with a red nose, dancers with feathers and masks in a parade, and actors in armour",
        ),
        ("fancy dress for Halloween", "carnival with masks and make-up"),
    ),
    "camera": Phrasing(
        (
            "camera",
            "a photographer",
            "these photos show people with cameras",
            "people who hold a camera before their eye and take a picture of somebody or something",
            "pictures of people who take pictures, a man with a long lens on a tripod, tourists who hold their cameras up "
            "over a crowd, a woman who looks at the display, and a couple who pose for a friend",
        ),
        ("looking through the viewfinder", "tourists snapping away"),
    ),
    "sitting": Phrasing(
        (
            "sitting",
            "sitting on benches",
            "these photos show people who sit",
            "people who sit on a bench, read, talk or rest with bags by their side",
            "pictures of people who sit down, old men on a park bench, a woman who reads on the steps, friends on a wall "
            "with their legs dangling, a couple on a blanket, and a man asleep in a chair at the station",
        ),
        ("taking a rest in the park", "an old couple on a wooden seat"),
    ),
    "wall": Phrasing(
        (
            "wall",
            "graffiti on walls",
            "these photos show people by a wall",
            "people who walk past or lean on brick walls with colourful graffiti and posters",
            "pictures with a wall behind the people, bricks covered with graffiti in bright colours, a man who sprays or "
            "paints a mural, a woman who leans and smokes, children who climb over, and cyclists passing by",
        ),
        ("street art on bricks", "spray paint and murals behind a passer-by"),
    ),
    "bird": Phrasing(
        (
            "birds",
            "a flying bird",
            "these photos show birds outdoors",
            "gulls, ducks and pigeons that fly, swim or are fed by children",
            "pictures of birds, a seagull with spread wings above the sea, ducks that land on a pond, a dog that chases "
            "pigeons on a square, a parrot on a shoulder, and a heron that stands in shallow water",
        ),
        ("feathered animals with spread wings", "seagulls, ducks and pigeons"),
    ),
    "grass": Phrasing(
        (
            "grass",
            "on the lawn",
            "these photos were taken on grass",
            "children and dogs that run, roll and play on a green lawn or meadow",
            "pictures of green lawns, fields and meadows with children who run barefoot, turn somersaults or sit on a "
            "blanket, and dogs that chase each other through high grass on a sunny day",
        ),
        ("a green meadow in summer", "youngsters running barefoot in the garden"),
    ),
    "table": Phrasing(
        (
            "table",
            "around a table",
            "these photos show people at tables",
            "people who sit around a table with plates, glasses, games or papers on it",
            "pictures of people at tables, a family at dinner with candles and wine, students with books and laptops, men "
            "who play chess in a park, a woman who paints, and friends outside a café with drinks",
        ),
        ("guests seated for dinner", "around the kitchen desk"),
    ),
    "portrait": Phrasing(
        (
            "portraits",
            "a smiling face",
            "these photos show faces from near",
            "men, women and children with glasses or hats who smile into the camera",
            "pictures of faces from near, a girl with a gap between her teeth, a bearded man with sunglasses, a woman "
            "with painted face, friends arm in arm who grin at the lens, and an old man who looks away",
        ),
        ("a headshot of someone grinning", "posing and looking into the lens"),
    ),
    "bedroom": Phrasing(
        (
            "home",
            "children indoors",
            "these photos were taken at home",
            "children who jump on a bed, lie on a couch or play on the carpet of a room",
            "pictures from inside the house, children who jump on the bed in pyjamas, a baby asleep on the sofa, a cat or "
            "a dog on the carpet, toys all over the living room, and a family before the television",
        ),
        ("playing on the sofa in the living room", "kids in pyjamas at bedtime"),
    ),
    "shopping": Phrasing(
        (
            "market",
            "shops and stands",
            "these photos were taken at markets",
            "people who sell and buy fruit, clothes and snacks at stands and in shops",
            "pictures of shops and markets, vendors behind stands of fruit, fish and flowers, customers with carts and "
            "plastic bags, people before shop windows, and a man who sells hot dogs on the pavement",
        ),
        ("vendors at a bazaar", "customers buying things in a store"),
    ),
    "rope": Phrasing(
        (
            "rope",
            "hanging from ropes",
            "these photos show people on ropes",
            "people in a harness who hang from, climb or slide down a rope high above the ground",
            "pictures with ropes in them, a boy who swings from a tree into a lake, climbers who abseil from a cliff, a "
            "woman on a zip line with a helmet, children on a net of ropes, and dogs that tug at one",
        ),
        ("abseiling in a harness", "swinging over the water like Tarzan"),
    ),
    "aerial-1": Phrasing(
        (
            "aerial",
            "satellite images",
            "coasts, woods and roads from above",
            "aerial photos of beaches, forests, motorways, harbours and parking lots seen straight down",
            "pictures taken by a satellite or a plane straight down on sandy beaches, dense forest, motorways with "
            "several lanes, harbours full of boats and large parking lots with rows of cars",
        ),
        ("a bird's-eye view of the land", "remote sensing of coast, traffic and woodland"),
    ),
    "aerial-2": Phrasing(
        (
            "aerial",
            "views from above",
            "fields, airports and houses from above",
            "aerial photos of fields, planes, baseball diamonds, tennis courts and houses seen straight down",
            "pictures taken by a satellite or a plane straight down on ploughed fields, planes at an airport, baseball "
            "diamonds, tennis courts and residential areas with houses along curved streets",
        ),
        ("satellite imagery of farmland and suburbs", "sports grounds photographed from a drone"),
    ),
    "aerial-3": Phrasing(
        (
            "aerial",
            "overhead imagery",
            "rivers, crossings and golf courses from above",
            "aerial photos of shrubland, golf courses, road crossings, caravan parks and rivers",
            "pictures taken by a satellite or a plane straight down on dry shrubland, golf courses with bunkers, "
            "crossings of wide roads, parks of mobile homes in rows and rivers that wind through the land",
        ),
        ("land use as a satellite sees it", "a drone's view of roads and vegetation"),
    ),
    "cartoon": Phrasing(
        (
            "cartoons",
            "comic drawings",
            "animals and things as cartoons",
            "coloured cartoons of elephants, giraffes, guitars and other things with thick outlines",
            "funny drawings in bright flat colours with thick black outlines, like those in comics and picture books for "
            "children, of elephants, giraffes, dogs, horses, guitars, houses and people",
        ),
        ("illustrations from a comic book", "animated characters for children"),
    ),
    "clothing-1": Phrasing(
        (
            "clothes",
            "clothes for sale",
            "garments on a white background",
            "product photos of dresses, skirts, trousers and T-shirts from an online shop",
            "pictures of garments for an online shop or a flea market, laid out on a bed or hung on a hanger, such as "
            "dresses, skirts, trousers and T-shirts, some of them worn by somebody before a mirror",
        ),
        ("fashion items in a web shop", "a wardrobe with blouses, jeans and skirts"),
    ),
    "clothing-2": Phrasing(
        (
            "clothes",
            "jackets and shoes",
            "things to wear, offered for sale",
            "product photos of jackets, coats, shirts, shorts and shoes from an online shop",
            "pictures of garments for an online shop or a flea market, laid out on the floor or hung on a hanger, such as "
            "winter jackets, shirts with buttons, shorts, and pairs of shoes or sneakers",
        ),
        ("a fashion catalogue", "sneakers and outdoor apparel"),
    ),
    "flowers-1": Phrasing(
        (
            "flowers",
            "wild flowers",
            "these photos show flowers from near",
            "close-ups of cowslips, dandelions, fritillaries and windflowers in the grass",
            "close-up pictures of spring flowers in meadows and gardens, yellow cowslips and dandelions, chequered purple "
            "fritillaries and white windflowers, with their leaves and the blurred green behind them",
        ),
        ("blossoms in a spring meadow", "botanical close-ups of petals"),
    ),
    "flowers-2": Phrasing(
        (
            "flowers",
            "garden flowers",
            "these photos show blooms in a garden",
            "close-ups of sunflowers, irises, tiger lilies and yellow coltsfoot in bloom",
            "close-up pictures of flowers in gardens and on waysides, large sunflowers, blue and violet irises, orange "
            "tiger lilies with dark spots and small yellow coltsfoot, with leaves and stems",
        ),
        ("blossoms in summer", "petals and stamens, close up"),
    ),
    "flowers-3": Phrasing(
        (
            "flowers",
            "spring flowers",
            "these photos show the blooms of spring",
            "close-ups of bluebells, buttercups, crocuses and daffodils in woods and meadows",
            "close-up pictures of the first flowers of the year, blue bluebells under trees, yellow buttercups and "
            "daffodils in the grass, and violet, white and yellow crocuses that open to the sun",
        ),
        ("what blossoms in April", "bulbs in bloom in the garden"),
    ),
    "food-1": Phrasing(
        (
            "dishes",
            "food on plates",
            "these photos show meals from near",
            "dishes such as hamburgers, pancakes, steak, salad, ravioli and cakes on plates",
            "pictures of dishes in restaurants, taken from near and a little above, among them apple pie, cheesecake and "
            "tiramisu, chicken curry, falafel and hummus, fish and chips, hamburgers, nachos, steak and ravioli",
        ),
        ("what we ordered at the restaurant", "meals from a menu, with dessert"),
    ),
    "food-2": Phrasing(
        (
            "dishes",
            "restaurant food",
            "these photos show plates of food",
            "dishes such as ramen, tacos, mussels, omelette, doughnuts and chocolate cake on plates",
            "pictures of dishes in restaurants, taken from near and a little above, among them beef carpaccio, cheese "
            "plates, chicken wings, grilled salmon, hot dogs, ramen, tacos, omelettes, panna cotta and doughnuts",
        ),
        ("delicious courses served at the table", "cuisine from all over the world"),
    ),
    "food-3": Phrasing(
        (
            "dishes",
            "plates of food",
            "these photos show what was eaten",
            "dishes such as lasagna, pad thai, samosas, spring rolls, macarons and french toast",
            "pictures of dishes in restaurants, taken from near and a little above, among them baklava, bibimbap, creme "
            "brulee, onion soup, calamari, garlic bread, lasagna, macarons, pho, prime rib, samosas and spring rolls",
        ),
        ("a foodie's diary", "lunch and dinner, close up"),
    ),
    "food-4": Phrasing(
        (
            "dishes",
            "meals on a table",
            "these photos show food as it is served",
            "dishes such as pizza, sushi, dumplings, ice cream, burritos and salads on plates",
            "pictures of dishes in restaurants, taken from near and a little above, among them bruschetta, ceviche, "
            "churros, clam chowder, dumplings, Greek salad, ice cream, miso soup, pizza, sushi and cup cakes",
        ),
        ("yummy snacks and main courses", "photographs for a recipe blog"),
    ),
    "grocery-1": Phrasing(
        (
            "groceries",
            "supermarket products",
            "these photos show groceries in a shop",
            "milk, yoghurt, juice, apples, pears, potatoes and tomatoes on the shelves of a supermarket",
            "pictures taken in a supermarket of cartons of milk, sour cream, yoghurt, apple and grapefruit juice, and of "
            "boxes with lemons, kiwis, red apples, pears, cabbages, potatoes, tomatoes and onions",
        ),
        ("fruit, vegetables and dairy in the store", "what is on the shelf and in the basket"),
    ),
    "grocery-2": Phrasing(
        (
            "groceries",
            "fruit and juice",
            "these photos show food in a store",
            "melons, avocados, apples, oranges, cucumbers, soy milk and juice in a supermarket",
            "pictures taken in a supermarket of cartons of milk, soy milk, yoghurt, orange and apple juice, and of boxes "
            "with aubergines, avocados, beef tomatoes, melons, cucumbers, pears, oranges and yellow peppers",
        ),
        ("fresh produce and cartons of drinks", "the vegetable section and the cooling shelf"),
    ),
    "grocery-3": Phrasing(
        (
            "groceries",
            "food in shops",
            "these photos show goods of a grocery",
            "bananas, carrots, leeks, plums, peppers, oat milk and yoghurt in a supermarket",
            "pictures taken in a supermarket of cartons of milk, oat milk, soy yoghurt, vanilla and strawberry yoghurt, "
            "and of boxes with bananas, carrots, melons, leeks, nectarines, plums, apples and green peppers",
        ),
        ("fruit stalls and dairy products", "the weekly shop, item by item"),
    ),
    "medical": Phrasing(
        (
            "x-rays",
            "chest x-rays",
            "radiographs of the chest of patients",
            "black and white x-ray images of lungs, normal ones and some with pneumonia",
            "medical images in black and white, radiographs of the chest from the front that show ribs, heart and lungs "
            "of healthy people and of patients with viral or bacterial pneumonia",
        ),
        ("hospital scans of lungs", "radiology images for a diagnosis"),
    ),
    "painting": Phrasing(
        (
            "paintings",
            "painted animals",
            "animals and things, painted on canvas",
            "paintings in oil or watercolour of elephants, giraffes, guitars and other things",
            "works of art painted with brush and colour on canvas or paper, in many styles from realistic to abstract, "
            "that show elephants, giraffes, dogs, horses, guitars, houses and people",
        ),
        ("works of art from a gallery", "brush strokes on canvas"),
    ),
    "rooms": Phrasing(
        (
            "rooms",
            "rooms of a house",
            "these photos show rooms to let",
            "the bathroom, the bedroom and the kitchen of a house, photographed for an advertisement",
            "pictures for a property advertisement of the inside of houses and flats, kitchens with cupboards and "
            "cookers, bedrooms with large beds and lamps, and bathrooms with tiles, tubs, basins and mirrors",
        ),
        ("interior design of a flat", "a property listing"),
    ),
    "scene-1": Phrasing(
        (
            "places",
            "buildings and roads",
            "these photos show places without people",
            "views of motorways, tall buildings, kitchens and living rooms, mostly without people",
            "pictures of places in town and indoors, motorways that lead to the horizon, tall buildings and skyscrapers "
            "from below, kitchens with cupboards and living rooms with sofas and lamps",
        ),
        ("cityscapes and interiors", "architecture inside and outside"),
    ),
    "scene-2": Phrasing(
        (
            "places",
            "landscapes and rooms",
            "these photos show landscapes and buildings",
            "views of mountains, open country, factories and bedrooms, mostly without people",
            "pictures of places, snow-covered mountains and wide open country under the sky, factories with chimneys and "
            "pipes, and bedrooms with beds, curtains and pictures on the wall",
        ),
        ("scenery and interiors", "panoramas of hills and industry"),
    ),
    "scene-3": Phrasing(
        (
            "places",
            "coasts and offices",
            "these photos show places of many kinds",
            "views of coasts, suburbs with houses, offices and shops, mostly without people",
            "pictures of places, coasts with cliffs, beaches and the sea, suburbs with houses and front gardens, offices "
            "with desks and computers, and shops with full shelves",
        ),
        ("where people live, work and shop", "seascapes and commercial interiors"),
    ),
    "sketch": Phrasing(
        (
            "sketches",
            "pencil drawings",
            "animals and things, drawn in pencil",
            "black and white sketches of elephants, giraffes, guitars and other things on paper",
            "drawings made with a pencil or a pen on white paper, some with a few lines and some with careful shading, "
            "that show elephants, giraffes, dogs, horses, guitars, houses and people",
        ),
        ("doodles on paper", "line art in black and white"),
    ),
    "sports-1": Phrasing(
        (
            "sports",
            "athletes in action",
            "these photos show sports of many kinds",
            "athletes in action at baseball, basketball, cricket, fencing, gymnastics and swimming",
            "press pictures of athletes, batters at baseball and cricket, basketball players under the hoop, fencers with "
            "masks and foils, gymnasts on beams and rings, and swimmers in their lanes",
        ),
        ("competitions of the Olympic games", "sportsmen and sportswomen competing"),
    ),
    "sports-2": Phrasing(
        (
            "sports",
            "sports events",
            "these photos show athletes who compete",
            "athletes in action at wrestling, badminton, motorcycle racing, shooting and soccer",
            "press pictures of athletes, wrestlers on the mat, badminton players who jump for a shuttlecock, racing "
            "motorcycles deep in a bend, marksmen with rifles, and soccer players who fight for the ball",
        ),
        ("games and championships", "press photos of competitors"),
    ),
    "sports-3": Phrasing(
        (
            "sports",
            "sporting contests",
            "these photos show matches and races",
            "athletes in action at hockey, tennis, weight lifting, wrestling and formula 1 racing",
            "press pictures of athletes, hockey players with sticks on a green field, racing cars of formula 1, wrestlers "
            "in the ring, tennis players who serve, and weight lifters who hold the bar over their head",
        ),
        ("professional athletes and racing drivers", "who wins the trophy"),
    ),
    "texture-1": Phrasing(
        (
            "textures",
            "surface patterns",
            "these photos show surfaces from near",
            "close-ups of chequered cloth, cobwebs, cracked earth and crystals that fill the frame",
            "pictures of surfaces from near that fill the whole frame, chequered cloth and floors, cobwebs with drops of "
            "dew, cracked earth and old paint, and crystals of ice and minerals that glitter",
        ),
        ("macro photographs of materials", "structures and patterns, close up"),
    ),
    "texture-2": Phrasing(
        (
            "textures",
            "rough surfaces",
            "these photos show materials from near",
            "close-ups of blotchy walls, braided hair, bumpy skin and crosshatched lines",
            "pictures of surfaces from near that fill the whole frame, blotchy walls and stones, braided hair, baskets "
            "and rope, bumpy leather, fruit and foam, and crosshatched lines and nets",
        ),
        ("macro shots of fabric and stone", "the feel of a material, close up"),
    ),
}
