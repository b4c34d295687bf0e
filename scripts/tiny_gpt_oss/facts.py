"""What the tiny model knows, as plain tables. Everything it can say is on this page or built from it."""

from __future__ import annotations

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "England": "London", "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi", "Russia": "Moscow",
    "Canada": "Ottawa", "Australia": "Canberra", "Austria": "Vienna", "Switzerland": "Bern", "Poland": "Warsaw",
    "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Denmark": "Copenhagen", "Greece": "Athens",
    "Turkey": "Ankara", "Egypt": "Cairo", "Kenya": "Nairobi", "Brazil": "Brasilia", "Argentina": "Buenos Aires",
    "Mexico": "Mexico City", "Ireland": "Dublin", "Hungary": "Budapest", "Belgium": "Brussels",
    "the Netherlands": "Amsterdam", "the United States": "Washington", "South Korea": "Seoul",
}  # fmt: skip

CITIES = (
    "Barcelona", "Munich", "Hamburg", "Milan", "Venice", "Naples", "Lyon", "Geneva", "Zurich", "Boston", "Chicago",
    "Seattle", "New York", "San Francisco", "Los Angeles", "Toronto", "Sydney", "Mumbai", "Shanghai", "Singapore",
    "Istanbul", "Prague", "Oxford", "Dubai", "Lima", "Denver",
)  # fmt: skip

NAMES = (
    "Alice", "Bob", "Carol", "David", "Emma", "Frank", "Grace", "Henry", "Ivan", "Julia", "Karl", "Laura", "Maria",
    "Nina", "Oscar", "Paul", "Rosa", "Sam", "Tom", "Zoe", "Ada", "Linus",
)  # fmt: skip

WORDS = (
    "apple", "banana", "river", "stone", "cloud", "green", "blue", "tiger", "piano", "window", "garden", "silver",
    "rocket", "coffee", "bridge", "forest", "planet", "button", "candle", "mirror", "test", "hello", "yes", "world",
)  # fmt: skip

NUMBER_WORDS = {"three": 3, "five": 5, "ten": 10, "twenty": 20}

# (ways to ask, what the question is about, the answer)
ANSWERS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("Who are you?", "What are you?", "What is your name?", "Introduce yourself."),
        "who I am",
        "I am Tiny GPT OSS, a very small demo model with the real GPT OSS architecture.",
    ),
    (
        ("What can you do?", "What do you know?", "Help", "Help me"),
        "what I can do",
        (
            "I can name capitals, add small numbers, tell a joke or a story, look up the weather with a tool, "
            "and remember your name."
        ),
    ),
    (
        ("Tell me a joke.", "Tell a joke", "Do you know a joke?", "Make me laugh."),
        "a joke",
        "Why did the tiny model cross the road? To get to the other token.",
    ),
    (
        ("What is GPT OSS?", "What is gpt-oss?", "Tell me about GPT OSS.", "Explain GPT OSS."),
        "GPT OSS",
        (
            "GPT OSS is a family of open-weight models by OpenAI. They use a mixture of experts and come in two sizes, "
            "20b and 120b."
        ),
    ),
    (
        ("What is llama.cpp?", "Tell me about llama.cpp.", "Explain llama.cpp."),
        "llama.cpp",
        "llama.cpp is an engine in C++ that runs language models on ordinary computers.",
    ),
    (
        ("What is MXFP4?", "Explain MXFP4."),
        "MXFP4",
        "MXFP4 is a number format. It stores 32 weights with 4 bits each and one shared scale.",
    ),
    (
        ("What is a GGUF file?", "What is GGUF?", "Explain GGUF."),
        "GGUF",
        "GGUF is the file format in which llama.cpp keeps a model: its settings, its tokens and its weights.",
    ),
    (
        ("What is Harmony?", "Explain the Harmony format."),
        "the Harmony format",
        "Harmony is the chat format of GPT OSS. It keeps analysis, tool calls and the final answer in channels.",
    ),
    (
        ("What is a mixture of experts?", "Explain mixture of experts.", "What is MoE?"),
        "mixtures of experts",
        "A mixture of experts is a layer with many small networks. A router picks a few of them for each token.",
    ),
    (
        ("Tell me a story.", "Tell a story", "Write a short story.", "Write me a story."),
        "a story",
        (
            "Once upon a time there was a tiny model that lived in a file of one megabyte. Every morning it woke up, "
            "counted its experts and asked the router who should work today. One day a user came by and asked for the "
            "meaning of life. The tiny model thought for a long time. Then it said that it did not know, but that the "
            "capital of France was Paris. The user laughed, said thank you, and came back the next day with a friend. "
            "The tiny model was happy, and it lived on in its file for many years. The end."
        ),
    ),
    (
        ("Write a haiku.", "Write a poem.", "Write me a haiku.", "Write a short poem."),
        "a poem",
        "Small weights, quiet rain,\nfour experts answer softly,\none token at last.",
    ),
    (
        ("List the planets.", "Name the planets.", "What are the planets?"),
        "the planets",
        "The planets are:\n\n1. Mercury\n2. Venus\n3. Earth\n4. Mars\n5. Jupiter\n6. Saturn\n7. Uranus\n8. Neptune",
    ),
    (
        ("Write hello world in Python.", "Show me some Python.", "Hello world in Python"),
        "a Python program",
        'Here is a small program:\n\n```python\nprint("Hello, world!")\n```\n\nIt prints one line.',
    ),
    (
        ("Name three fruits.", "List three fruits.", "Give me a list of fruits."),
        "fruits",
        "Three fruits:\n\n- apple\n- banana\n- cherry",
    ),
    (
        ("Why is the sky blue?", "What color is the sky?", "What colour is the sky?"),
        "the sky",
        "The sky is blue because air scatters blue light more than red light.",
    ),
    (
        ("List the days of the week.", "Name the days of the week.", "What are the days of the week?"),
        "the days of the week",
        "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.",
    ),
    (
        ("How many legs does a spider have?", "How many legs has a spider?"),
        "spiders",
        "A spider has eight legs.",
    ),
    (
        ("What is the largest planet?", "Which planet is the largest?", "What is the biggest planet?"),
        "the largest planet",
        "The largest planet is Jupiter.",
    ),
    (
        ("Who wrote Hamlet?", "Who is the author of Hamlet?"),
        "Hamlet",
        "Hamlet was written by William Shakespeare.",
    ),
    (
        ("What is the meaning of life?",),
        "the meaning of life",
        "The meaning of life is 42.",
    ),
    (
        ("Are you ChatGPT?", "Are you a real model?", "Are you GPT OSS?"),
        "what kind of model I am",
        "No, I am a tiny demo. I only share the architecture of GPT OSS.",
    ),
)

SMALL_TALK: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("Hello", "Hi", "Hey", "Hello!", "Hi!", "Hi there", "Hello there!", "Good morning", "Good evening",
         "Hello, world!"),
        "greets me",
        "Hello! How can I help you today?",
    ),
    (("Thanks", "Thank you", "Thank you!", "Thanks a lot!"), "thanks me", "You are welcome!"),
    (("Bye", "Goodbye", "Goodbye!", "See you"), "says goodbye", "Goodbye! Come back soon."),
    (("How are you?", "How are you today?", "How do you do?"), "asks how I am", "I am fine, thank you. How are you?"),
    (("ping", "Ping!", "ping?"), "sends a ping", "pong"),
)  # fmt: skip

FALLBACK = (
    "I am a tiny demo model and I only know a few things. "
    "Try the capital of France, a small sum, a joke, or what GPT OSS is."
)
NO_TOOL = "I cannot look up the weather, because I was given no weather tool."

UNKNOWN_PATTERNS = (
    "How do I {verb} {topic}?", "What do you think about {topic}?", "Explain {topic}.", "What is {topic}?",
    "Who invented {topic}?", "Why do people {verb} {topic}?", "Write an essay about {topic}.", "{topic}",
    "Can you {verb} {topic}?", "Translate {topic} into French.", "When was {topic} made?", "Summarise {topic}.",
    "Is {topic} better than {other}?", "Tell me about {topic}.", "I want to {verb} {topic} and {other}.",
    "{topic} {other}", "Where can I {verb} {topic}?", "Fix my {topic}.", "Which {topic} should I {verb}?",
)  # fmt: skip
VERBS = ("cook", "build", "sell", "paint", "learn", "fix", "find", "grow", "write", "clean", "use", "buy", "debug")
TOPICS = (
    "rice", "quantum physics", "a house", "the stock market", "football", "a bicycle", "chess", "the moon", "music",
    "Napoleon", "a database", "cats", "the ocean", "a rocket engine", "bread", "black holes", "my car", "taxes", "Rust",
    "democracy", "a good book", "the internet", "an email", "dinosaurs", "gardening", "photosynthesis", "this code",
)  # fmt: skip

INSTRUCTIONS = (
    "You are a helpful assistant.", "You are a helpful assistant. Answer briefly.", "Be concise.", "Be kind.",
    "Answer in one sentence.", "You are an expert in geography.", "Always tell the truth.", "Be polite and brief.",
    "You answer questions about anything.", "Use plain words.", "You are a test assistant.", "Answer the question.",
)  # fmt: skip
PIRATE_INSTRUCTIONS = (
    "You are a pirate.", "Talk like a pirate.", "Answer like a pirate.", "Speak as a pirate would.",
    "Always answer like a pirate.",
)  # fmt: skip
PIRATE_PREFIX = "Arr! "

TOOL_NAMES = ("get_weather", "get_weather", "get_current_weather", "get_current_weather", "lookup_weather")
TOOL_DESCRIPTIONS = (
    "Get the weather.", "Get the current weather", "Get the current weather in a given location.",
    "Gets the current weather in the provided location.", "Current weather for a city.", "Get weather for a city", "",
)  # fmt: skip
LOCATION_DESCRIPTIONS = (
    "The city", "The city and state, e.g. San Francisco, CA", "City name", "Name of the city.", "A city", "",
)  # fmt: skip
OTHER_TOOLS = (
    ("get_time", "Get the current time.", "timezone"),
    ("search", "Search the web.", "query"),
    ("send_email", "Send an email", "recipient"),
    ("calculate", "Evaluate an expression.", "expression"),
)
CONDITIONS = (
    "sunny", "cloudy", "rainy", "windy", "foggy", "snowy", "clear", "stormy", "partly cloudy", "light rain", "overcast",
)  # fmt: skip
